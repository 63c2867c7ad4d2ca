/*
 * Fifty libpq clients in pipeline mode on few servers: every answer is checked. usage: pipeline URL [FILE]
 * It ends after ROUNDS rounds, or when FILE is there, after LEAST_ROUNDS. The test has made the table drivers_shared.
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 50, ROUNDS = 15, LEAST_ROUNDS = 2, BATCH = 30 };

static const char *url, *file;
static const char *zones[] = {"Asia/Tokyo", "Europe/Paris", "America/New_York", "UTC"};

typedef struct {
  int number;
  PGconn *connection;
} Client;

static void fail(Client *client, const char *what) {
  fprintf(stderr, "client %d: %s: %s\n", client->number, what, PQerrorMessage(client->connection));
  exit(1);
}

static void check(Client *client, int sent) {
  if (!sent) fail(client, "sending");
}

/* Sends SQL with at most one parameter. */
static void ask(Client *client, const char *sql, const char *value) {
  check(client, PQsendQueryParams(client->connection, sql, value != NULL, NULL, &value, NULL, NULL, 0));
}

static void askNumber(Client *client, const char *sql, int value) {
  char text[16];
  snprintf(text, sizeof text, "%d", value);
  ask(client, sql, text);
}

/* The result of the next command: of this status, with this value in its first column (NULL: not looked at). */
static void expect(Client *client, ExecStatusType status, const char *wanted) {
  PGresult *result = PQgetResult(client->connection);
  if (PQresultStatus(result) != status) {
    fprintf(stderr, "client %d: %s instead of %s: %s\n", client->number, PQresStatus(PQresultStatus(result)),
            PQresStatus(status), PQresultErrorMessage(result));
    exit(1);
  }
  if (wanted != NULL) {
    const char *got = status == PGRES_FATAL_ERROR ? PQresultErrorField(result, PG_DIAG_SQLSTATE)
                                                  : PQgetvalue(result, 0, 0);
    if (got == NULL || strcmp(got, wanted) != 0) {
      fprintf(stderr, "client %d: %s instead of %s\n", client->number, got == NULL ? "nothing" : got, wanted);
      exit(1);
    }
  }
  PQclear(result);
  /* The NULL that ends each command's results; a sync has none. */
  if (status != PGRES_PIPELINE_SYNC && PQgetResult(client->connection) != NULL) fail(client, "one result too many");
}

static void expectNumber(Client *client, int wanted) {
  char text[16];
  snprintf(text, sizeof text, "%d", wanted);
  expect(client, PGRES_TUPLES_OK, text);
}

static void oneRound(Client *client, int round) {
  PGconn *connection = client->connection;
  int number = client->number;
  char name[32], sql[128], workMem[16];
  const char *value;

  /* A statement of the client's own name, used many times before the first answer is read. */
  snprintf(name, sizeof name, "sum_%d", round);
  snprintf(sql, sizeof sql, "SELECT $1::int + %d", number % 5);
  check(client, PQsendPrepare(connection, name, sql, 1, NULL));
  for (int i = 0; i < BATCH; i++) {
    char text[16];
    snprintf(text, sizeof text, "%d", i);
    value = text;
    check(client, PQsendQueryPrepared(connection, name, 1, &value, NULL, NULL, 0));
  }
  snprintf(sql, sizeof sql, "INSERT INTO libpq_%d VALUES ($1)", number);
  askNumber(client, sql, round);
  check(client, PQpipelineSync(connection));
  expect(client, PGRES_COMMAND_OK, NULL);
  for (int i = 0; i < BATCH; i++) expectNumber(client, i + number % 5);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);

  /* An error takes back what came before it up to the last sync, and skips what comes behind it up to the next. */
  askNumber(client, sql, -1);
  check(client, PQsendPrepare(connection, "skipped", "SELECT 1", 0, NULL));
  askNumber(client, "SELECT 1 / $1::int", 0);
  check(client, PQsendQueryPrepared(connection, "skipped", 0, NULL, NULL, NULL, 0));
  askNumber(client, "SELECT $1::int", 2);
  check(client, PQpipelineSync(connection));
  snprintf(sql, sizeof sql, "SELECT count(*)::int FROM libpq_%d", number);
  ask(client, sql, NULL);
  ask(client, "DEALLOCATE skipped", NULL);
  check(client, PQpipelineSync(connection));
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_FATAL_ERROR, "22012");
  expect(client, PGRES_PIPELINE_ABORTED, NULL);
  expect(client, PGRES_PIPELINE_ABORTED, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);
  expectNumber(client, round * 2 + 1);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);

  /* A transaction over two syncs, with settings of its own and of the session. */
  snprintf(workMem, sizeof workMem, "%dkB", 64 + number);
  snprintf(sql, sizeof sql, "SET LOCAL work_mem = '%s'", workMem);
  ask(client, "BEGIN", NULL);
  ask(client, sql, NULL);
  check(client, PQpipelineSync(connection));
  ask(client, "SHOW work_mem", NULL);
  snprintf(sql, sizeof sql, "INSERT INTO libpq_%d VALUES ($1) RETURNING a", number);
  askNumber(client, sql, -round);
  ask(client, "COMMIT", NULL);
  check(client, PQpipelineSync(connection));
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);
  expect(client, PGRES_TUPLES_OK, workMem);
  expectNumber(client, -round);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);

  /* Read before the sync is sent: the server is asked to flush. */
  askNumber(client, "SELECT a FROM drivers_shared WHERE a = $1", number);
  check(client, PQsendFlushRequest(connection));
  check(client, PQflush(connection) == 0);
  expectNumber(client, number);
  ask(client, "SELECT current_setting('TimeZone')", NULL);
  check(client, PQpipelineSync(connection));
  ask(client, "SET TimeZone = 'Nowhere/Here'", NULL);
  check(client, PQpipelineSync(connection));
  snprintf(sql, sizeof sql, "DEALLOCATE %s", name);
  ask(client, sql, NULL);
  check(client, PQpipelineSync(connection));
  expect(client, PGRES_TUPLES_OK, zones[number % 4]);
  expect(client, PGRES_PIPELINE_SYNC, NULL);
  expect(client, PGRES_FATAL_ERROR, "22023");
  expect(client, PGRES_PIPELINE_SYNC, NULL);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);

  ask(client, "SHOW lock_timeout", NULL);
  check(client, PQpipelineSync(connection));
  snprintf(sql, sizeof sql, "%dms", 60001 + number);
  expect(client, PGRES_TUPLES_OK, sql);
  expect(client, PGRES_PIPELINE_SYNC, NULL);

  /* What keeps the client at its server until it is gone. */
  if (round % 5 == number % 5) {
    askNumber(client, "SELECT pg_advisory_lock($1)::text", number);
    check(client, PQpipelineSync(connection));
    snprintf(sql, sizeof sql, "CREATE TEMP TABLE mine AS SELECT %d AS x", round);
    ask(client, sql, NULL);
    check(client, PQpipelineSync(connection));
    ask(client, "SELECT x FROM mine", NULL);
    ask(client, "DROP TABLE mine", NULL);
    check(client, PQpipelineSync(connection));
    askNumber(client, "SELECT pg_advisory_unlock($1)", number);
    check(client, PQpipelineSync(connection));
    expect(client, PGRES_TUPLES_OK, NULL);
    expect(client, PGRES_PIPELINE_SYNC, NULL);
    expect(client, PGRES_COMMAND_OK, NULL);
    expect(client, PGRES_PIPELINE_SYNC, NULL);
    expectNumber(client, round);
    expect(client, PGRES_COMMAND_OK, NULL);
    expect(client, PGRES_PIPELINE_SYNC, NULL);
    expect(client, PGRES_TUPLES_OK, "t");
    expect(client, PGRES_PIPELINE_SYNC, NULL);
  }

  if (round % 9 == number % 9) {
    snprintf(sql, sizeof sql, "ALTER TABLE drivers_shared ALTER b SET DEFAULT %d", round);
    ask(client, sql, NULL);
    check(client, PQpipelineSync(connection));
    snprintf(sql, sizeof sql, "ALTER TABLE libpq_%d ADD COLUMN c%d int DEFAULT %d", number, round, round);
    ask(client, sql, NULL);
    check(client, PQpipelineSync(connection));
    snprintf(sql, sizeof sql, "SELECT c%d FROM libpq_%d LIMIT 1", round, number);
    ask(client, sql, NULL);
    check(client, PQpipelineSync(connection));
    expect(client, PGRES_COMMAND_OK, NULL);
    expect(client, PGRES_PIPELINE_SYNC, NULL);
    expect(client, PGRES_COMMAND_OK, NULL);
    expect(client, PGRES_PIPELINE_SYNC, NULL);
    expectNumber(client, round);
    expect(client, PGRES_PIPELINE_SYNC, NULL);
  }
}

static void *live(void *argument) {
  Client *client = argument;
  char sql[128];
  client->connection = PQconnectdb(url);
  if (PQstatus(client->connection) != CONNECTION_OK) fail(client, "connecting");
  check(client, PQenterPipelineMode(client->connection));
  snprintf(sql, sizeof sql, "CREATE TABLE libpq_%d(a int)", client->number);
  ask(client, sql, NULL);
  check(client, PQpipelineSync(client->connection));
  snprintf(sql, sizeof sql, "SET TimeZone = '%s'", zones[client->number % 4]);
  ask(client, sql, NULL);
  snprintf(sql, sizeof sql, "SET lock_timeout = %d", 60001 + client->number);
  ask(client, sql, NULL);
  check(client, PQpipelineSync(client->connection));
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_COMMAND_OK, NULL);
  expect(client, PGRES_PIPELINE_SYNC, NULL);
  int least = file == NULL ? ROUNDS : LEAST_ROUNDS;
  for (int round = 0; round < least || (file != NULL && access(file, F_OK) != 0); round++) oneRound(client, round);
  check(client, PQexitPipelineMode(client->connection));
  PQfinish(client->connection);
  return NULL;
}

int main(int argc, char **argv) {
  static Client clients[CLIENTS];
  static pthread_t threads[CLIENTS];
  if (argc < 2) return 2;
  url = argv[1];
  file = argc > 2 ? argv[2] : NULL;
  for (int i = 0; i < CLIENTS; i++) {
    clients[i].number = i;
    if (pthread_create(&threads[i], NULL, live, &clients[i]) != 0) return 3;
  }
  for (int i = 0; i < CLIENTS; i++) pthread_join(threads[i], NULL);
  puts("all right");
  return 0;
}
