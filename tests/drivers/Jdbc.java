import java.nio.file.*;
import java.sql.*;
import java.util.concurrent.*;
import java.util.*;

/**
 * Fifty pgjdbc clients on few servers with default settings: every answer is checked. usage: java Jdbc.java URL [FILE]
 * It ends after ROUNDS rounds, or when FILE is there, after LEAST_ROUNDS. The test has made the table drivers_shared.
 */
public class Jdbc {
  static final int CLIENTS = 50, ROUNDS = 9, LEAST_ROUNDS = 2;
  static final String[] ZONES = {"Asia/Tokyo", "Europe/Paris", "America/New_York", "UTC"};

  static void expect(Object got, Object wanted) {
    if (!wanted.equals(got)) throw new IllegalStateException(got + " instead of " + wanted);
  }

  static int number(PreparedStatement statement) throws SQLException {
    try (ResultSet rows = statement.executeQuery()) {
      rows.next();
      return rows.getInt(1);
    }
  }

  static boolean goesOn(int round, Path file) {
    return round < (file == null ? ROUNDS : LEAST_ROUNDS) || file != null && !Files.exists(file);
  }

  static String text(Statement statement, String sql) throws SQLException {
    try (ResultSet rows = statement.executeQuery(sql)) {
      rows.next();
      return rows.getString(1);
    }
  }

  static void client(String url, Path file, int who) throws Exception {
    try (Connection c = DriverManager.getConnection(url)) {
      String table = "jdbc_" + who;
      try (Statement s = c.createStatement()) {
        s.execute("CREATE TABLE " + table + "(a int)");
        s.execute("SET TimeZone = '" + ZONES[who % 4] + "'");
        s.execute("SET lock_timeout = " + (60001 + who));
      }
      int round = 0;
      // Used more than five times: then the driver names it on the server.
      try (PreparedStatement sum = c.prepareStatement("SELECT ?::int + 1");
          PreparedStatement all = c.prepareStatement("SELECT * FROM " + table + " ORDER BY a LIMIT 1");
          PreparedStatement insert = c.prepareStatement("INSERT INTO " + table + " VALUES (?)");
          PreparedStatement shared = c.prepareStatement("SELECT a FROM drivers_shared WHERE a = ?");
          PreparedStatement divide = c.prepareStatement("SELECT 1 / ?::int")) {
        for (; goesOn(round, file); round++) {
          sum.setInt(1, round);
          expect(number(sum), round + 1);
          divide.setInt(1, 0);
          try {
            number(divide);
            throw new IllegalStateException("no error");
          } catch (SQLException e) {
            expect(e.getSQLState(), "22012");
          }
          c.setAutoCommit(false);
          insert.setInt(1, round);
          insert.executeUpdate();
          try (Statement s = c.createStatement()) {
            s.execute("SET LOCAL work_mem = '" + (64 + who) + "kB'");
            expect(text(s, "SHOW work_mem"), (64 + who) + "kB");
          }
          c.commit();
          try (PreparedStatement many = c.prepareStatement("SELECT n FROM generate_series(1, ?) n")) {
            many.setFetchSize(7);
            many.setInt(1, 50);
            int n = 0;
            try (ResultSet rows = many.executeQuery()) {
              while (rows.next()) expect(rows.getInt(1), ++n);
            }
            expect(n, 50);
          }
          c.commit();
          c.setAutoCommit(true);
          for (int i = 1; i <= 5; i++) {
            insert.setInt(1, -i);
            insert.addBatch();
          }
          expect(insert.executeBatch().length, 5);
          // Its columns change: the driver is told and prepares anew.
          try (ResultSet rows = all.executeQuery()) {
            rows.next();
            expect(rows.getMetaData().getColumnCount(), round > 14 ? 2 : 1);
          }
          shared.setInt(1, who);
          expect(number(shared), who);
          try (Statement s = c.createStatement()) {
            try {
              s.execute("SET TimeZone = 'Nowhere/Here'");
              throw new IllegalStateException("no error");
            } catch (SQLException e) {
              expect(e.getSQLState(), "22023");
            }
            // DISCARD ALL has reset it.
            if (round == 18) {
              expect(text(s, "SHOW lock_timeout"), "0");
              s.execute("SET TimeZone = '" + ZONES[who % 4] + "'; SET lock_timeout = " + (60001 + who));
            }
            expect(text(s, "SHOW lock_timeout"), (60001 + who) + "ms");
            if (round % 5 == who % 5) {
              s.execute("SELECT pg_advisory_lock(" + who + ")");
              s.execute("CREATE TEMP TABLE mine AS SELECT " + round + " AS x");
              expect(text(s, "SELECT x FROM mine"), String.valueOf(round));
              s.execute("DROP TABLE mine");
              expect(text(s, "SELECT pg_advisory_unlock(" + who + ")"), "t");
            }
            expect(text(s, "SELECT current_setting('TimeZone')"), ZONES[who % 4]);
            if (round % 9 == who % 9) s.execute("ALTER TABLE drivers_shared ALTER b SET DEFAULT " + round);
          }
          if (round == 14) {
            try (Statement s = c.createStatement()) {
              s.execute("ALTER TABLE " + table + " ADD COLUMN b int");
            }
          }
          if (round == 8) {
            try (Statement s = c.createStatement()) {
              s.execute("DEALLOCATE ALL");
            }
          }
          if (round == 17) {
            try (Statement s = c.createStatement()) {
              s.execute("DISCARD ALL");
            }
          }
        }
      }
      try (PreparedStatement count = c.prepareStatement("SELECT count(*)::int FROM " + table)) {
        expect(number(count), round * 6);
      }
    }
  }

  public static void main(String[] args) throws Exception {
    Path file = args.length > 1 ? Path.of(args[1]) : null;
    ExecutorService pool = Executors.newFixedThreadPool(CLIENTS);
    List<Future<?>> all = new ArrayList<>();
    for (int i = 0; i < CLIENTS; i++) {
      int who = i;
      all.add(pool.submit(() -> { client(args[0], file, who); return null; }));
    }
    for (Future<?> one : all) one.get();
    pool.shutdown();
    System.out.println("all right");
  }
}
