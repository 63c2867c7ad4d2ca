"""What applications do with psycopg2, against the URL of the first argument; `session` as the second: PREPARE, too."""

import select
import sys
import threading

import psycopg2
import psycopg2.errors
import psycopg2.extras

url, mode = sys.argv[1], sys.argv[2]


def equal(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


connection = psycopg2.connect(url, application_name="psycopg2 test")
cursor = connection.cursor()
cursor.execute("SELECT %s::int + 1, %s, %s::date", (41, "it's", "2026-01-31"))
row = cursor.fetchone()
equal(row[:2], (42, "it's"))
equal(str(row[2]), "2026-01-31")
cursor.execute("SHOW application_name")
equal(cursor.fetchone(), ("psycopg2 test",))
connection.rollback()

cursor.execute("DROP TABLE IF EXISTS psycopg2_items; CREATE TABLE psycopg2_items (id int, word text)")
psycopg2.extras.execute_values(
    cursor, "INSERT INTO psycopg2_items VALUES %s", [(i, f"word {i}") for i in range(1000)]
)
connection.commit()

cursor.execute("INSERT INTO psycopg2_items VALUES (5000, 'lost')")
connection.rollback()
cursor.execute("SELECT count(*), sum(id) FROM psycopg2_items")
equal(cursor.fetchone(), (1000, 499500))

try:
    cursor.execute("SELECT 1 / 0")
    raise AssertionError("no error")
except psycopg2.errors.DivisionByZero as error:
    equal(error.pgcode, "22012")
try:
    cursor.execute("SELECT 1")
    raise AssertionError("no error")
except psycopg2.errors.InFailedSqlTransaction:
    connection.rollback()

# A server-side cursor fetches in pieces within one transaction.
with connection.cursor("pieces") as pieces:
    pieces.itersize = 100
    pieces.execute("SELECT id FROM psycopg2_items ORDER BY id")
    equal([r[0] for r in pieces], list(range(1000)))
connection.commit()

import io

cursor.copy_expert("COPY psycopg2_items FROM STDIN", io.StringIO("7000\tcopied\n7001\ttoo\n"))
out = io.StringIO()
cursor.copy_expert("COPY (SELECT * FROM psycopg2_items WHERE id >= 7000 ORDER BY 1) TO STDOUT", out)
equal(out.getvalue(), "7000\tcopied\n7001\ttoo\n")
connection.commit()

# Large objects go by the function call protocol.
large = connection.lobject(0, "wb")
large.write(b"x" * 300_000)
oid = large.oid
large.close()
connection.commit()
equal(len(connection.lobject(oid, "rb").read()), 300_000)
connection.lobject(oid).unlink()
connection.commit()

connection.autocommit = True
cursor.execute("SELECT repeat('y', 5000000)")
equal(len(cursor.fetchone()[0]), 5_000_000)

# Cancel from another thread.
timer = threading.Timer(0.2, connection.cancel)
timer.start()
try:
    cursor.execute("SELECT pg_sleep(30)")
    raise AssertionError("not canceled")
except psycopg2.errors.QueryCanceled:
    pass
timer.join()
cursor.execute("SELECT 'well'")
equal(cursor.fetchone(), ("well",))

cursor.execute("LISTEN psycopg2_news")
with psycopg2.connect(url) as other:
    other.cursor().execute("NOTIFY psycopg2_news, 'hello'")
select.select([connection], [], [], 5)
connection.poll()
equal([n.payload for n in connection.notifies], ["hello"])
cursor.execute("UNLISTEN psycopg2_news")
if mode == "session":
    cursor.execute("PREPARE kept AS SELECT $1::int * 2")
    cursor.execute("EXECUTE kept(21)")
    equal(cursor.fetchone(), (42,))

connection.close()

# Many threads with connections of their own.
faults = []


def worker(number):
    try:
        with psycopg2.connect(url) as mine:
            with mine.cursor() as c:
                for i in range(20):
                    c.execute("SELECT %s, %s", (number, i))
                    equal(c.fetchone(), (number, i))
                    mine.commit()
        mine.close()
    except Exception as error:
        faults.append(error)


threads = [threading.Thread(target=worker, args=(n,)) for n in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
equal(faults, [])

with psycopg2.connect(url) as last:
    last.cursor().execute("DROP TABLE psycopg2_items")
print("all right")
