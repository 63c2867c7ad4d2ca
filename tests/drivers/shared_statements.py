"""Fifty clients on few servers with a driver's default settings: every answer is checked.

usage: shared_statements.py URL DRIVER [FILE]      DRIVER: asyncpg, psycopg, psycopg2
Mixed: statements that are prepared by default, transactions, errors, SET and SET LOCAL, DDL on a table of the client's
own and on one that all share (drivers_shared, made by the test), pipelines where the driver has them, and what keeps a
client at its server: temporary tables, advisory locks, LISTEN. It ends after ROUNDS rounds, or when FILE is there, after LEAST_ROUNDS.
"""

import asyncio
import os
import random
import sys
import threading

CLIENTS = 50
ROUNDS = 9
LEAST_ROUNDS = 2
URL, DRIVER, FILE = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
ZONES = ["Asia/Tokyo", "Europe/Paris", "America/New_York", "UTC"]


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"{got!r} instead of {wanted!r}")


def rounds():
    round = 0
    while round < (ROUNDS if FILE is None else LEAST_ROUNDS) or FILE is not None and not os.path.exists(FILE):
        yield round
        round += 1


async def asyncpg_client(number):
    import asyncpg

    rng = random.Random(number)
    connection = await asyncpg.connect(URL)
    table = f"asyncpg_{number}"
    await connection.execute(f"CREATE TABLE {table}(a int)")
    await connection.execute(f"SET TimeZone = '{ZONES[number % 4]}'")
    await connection.execute(f"SET lock_timeout = {60001 + number}")
    for round in rounds():
        x = rng.randrange(1000)
        expect(await connection.fetchval("SELECT $1::int + 1", x), x + 1)
        expect(await connection.fetchval(f"SELECT $1::text || '{number % 7}'", str(x)), f"{x}{number % 7}")
        async with connection.transaction():
            await connection.execute(f"SET LOCAL work_mem = '{number + 64}kB'")
            await connection.execute(f"INSERT INTO {table} VALUES ($1)", x)
            expect(await connection.fetchval("SHOW work_mem"), f"{number + 64}kB")
        try:
            await connection.fetchval("SELECT 1 / $1::int", 0)
            raise AssertionError("no error")
        except asyncpg.DivisionByZeroError:
            pass
        try:
            async with connection.transaction():
                await connection.fetchval("SELECT no_such_column")
            raise AssertionError("no error")
        except asyncpg.UndefinedColumnError:
            pass
        await connection.executemany(f"INSERT INTO {table} VALUES ($1)", [(i,) for i in range(3)])
        statement = await connection.prepare(f"SELECT count(*) FROM {table} WHERE a >= $1")
        expect(await statement.fetchval(0), (round + 1) * 4)
        async with connection.transaction():
            rows = [row["n"] async for row in connection.cursor("SELECT n FROM generate_series(1, $1) n", 120)]
        expect(rows, list(range(1, 121)))
        try:
            await connection.execute("SET TimeZone = 'Nowhere/Here'")
            raise AssertionError("no error")
        except asyncpg.InvalidParameterValueError:
            pass
        expect(await connection.fetchval("SELECT current_setting('TimeZone')"), ZONES[number % 4])
        expect(await connection.fetchval("SHOW lock_timeout"), f"{60001 + number}ms")
        if round % 5 == number % 5:
            await connection.execute("SELECT pg_advisory_lock($1)", number)
            await connection.execute(f"CREATE TEMP TABLE mine AS SELECT {x} AS x")
            heard = asyncio.Queue()
            listener = lambda *said: heard.put_nowait(said[2:])
            await connection.add_listener(f"ear_{number}", listener)
            await connection.execute("SELECT pg_notify($1, $2)", f"ear_{number}", str(x))
            expect(await asyncio.wait_for(heard.get(), 30), (f"ear_{number}", str(x)))
            await connection.remove_listener(f"ear_{number}", listener)
            # Another table under the same name each time: no plan may outlive it.
            expect([row["x"] for row in await connection.fetch(f"SELECT x FROM mine -- {round}")], [x])
            await connection.execute("DROP TABLE mine")
            expect(await connection.fetchval("SELECT pg_advisory_unlock($1)", number), True)
        expect(await connection.fetchval("SELECT a FROM drivers_shared WHERE a = $1", number), number)
        if round % 9 == number % 9:
            await connection.execute(f"ALTER TABLE drivers_shared ALTER b SET DEFAULT {round}")
        if round % 9 == 4:
            await connection.execute(f"ALTER TABLE {table} ADD COLUMN c{round} int DEFAULT {round}")
            row = await connection.fetchrow(f"SELECT * FROM {table} LIMIT 1")
            expect(row[f"c{round}"], round)
    await connection.close()


async def asyncpg_all():
    await asyncio.gather(*(asyncpg_client(number) for number in range(CLIENTS)))


def psycopg_client(number):
    import psycopg

    rng = random.Random(number)
    with psycopg.connect(URL, autocommit=True) as connection:
        table = f"psycopg_{number}"
        connection.execute(f"CREATE TABLE {table}(a int)")
        connection.execute(f"SET TimeZone = '{ZONES[number % 4]}'")
        connection.execute(f"SET lock_timeout = {60001 + number}")
        for round in rounds():
            x = rng.randrange(1000)
            # More than five times: then the driver prepares.
            for i in range(7):
                expect(connection.execute("SELECT %s::int + %s::int", (x, i)).fetchone()[0], x + i)
            expect(connection.execute("SELECT %s || 'x'", (str(x),), prepare=True).fetchone()[0], f"{x}x")
            with connection.transaction():
                connection.execute(f"INSERT INTO {table} VALUES (%s)", (x,), prepare=True)
                connection.execute("SELECT set_config('work_mem', %s, true)", (f"{number + 64}kB",))
                expect(connection.execute("SHOW work_mem").fetchone()[0], f"{number + 64}kB")
            try:
                connection.execute("SELECT 1 / %s::int", (0,), prepare=True)
                raise AssertionError("no error")
            except psycopg.errors.DivisionByZero:
                pass
            with connection.pipeline():
                cursors = [connection.execute("SELECT %s::int * 2", (i,)) for i in range(10)]
                expect([cursor.fetchone()[0] for cursor in cursors], [i * 2 for i in range(10)])
            try:
                with connection.pipeline() as pipeline:
                    connection.execute("SELECT 1 / %s::int", (0,))
                    connection.execute("SELECT 2")
                    pipeline.sync()
                raise AssertionError("no error")
            except psycopg.errors.DivisionByZero:
                pass
            cursor = connection.cursor()
            cursor.executemany(f"INSERT INTO {table} VALUES (%s)", [(i,) for i in range(3)])
            expect(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0], (round + 1) * 4)
            try:
                connection.execute("SET TimeZone = 'Nowhere/Here'")
                raise AssertionError("no error")
            except psycopg.errors.InvalidParameterValue:
                pass
            expect(connection.execute("SELECT current_setting('TimeZone')").fetchone()[0], ZONES[number % 4])
            expect(connection.execute("SHOW lock_timeout").fetchone()[0], f"{60001 + number}ms")
            if round % 5 == number % 5:
                connection.execute("SELECT pg_advisory_lock(%s)", (number,))
                connection.execute(f"CREATE TEMP TABLE mine AS SELECT {x} AS x")
                connection.execute(f"LISTEN ear_{number}")
                connection.execute("SELECT pg_notify(%s, %s)", (f"ear_{number}", str(x)))
                heard = next(connection.notifies(timeout=30, stop_after=1))
                expect((heard.channel, heard.payload), (f"ear_{number}", str(x)))
                connection.execute("UNLISTEN *")
                expect(connection.execute("SELECT x FROM mine").fetchall(), [(x,)])
                connection.execute("DROP TABLE mine")
                expect(connection.execute("SELECT pg_advisory_unlock(%s)", (number,)).fetchone()[0], True)
            shared = connection.execute("SELECT a FROM drivers_shared WHERE a = %s", (number,), prepare=True)
            expect(shared.fetchone()[0], number)
            if round % 9 == number % 9:
                connection.execute(f"ALTER TABLE drivers_shared ALTER b SET DEFAULT {round}")
                connection.execute(f"ALTER TABLE {table} ADD COLUMN c{round} int DEFAULT {round}")
                row = connection.execute(f"SELECT c{round} FROM {table} LIMIT 1").fetchone()
                expect(row[0], round)
            if round % 9 == 4:
                # Many statements: the driver takes the oldest off the server (Close, or DEALLOCATE).
                for i in range(110):
                    expect(connection.execute(f"SELECT {i} + %s::int", (1,), prepare=True).fetchone()[0], i + 1)
            if round % 9 == 7:
                connection.execute("DEALLOCATE ALL")
                connection._prepared.clear()


def psycopg2_client(number):
    import psycopg2

    rng = random.Random(number)
    connection = psycopg2.connect(URL)
    cursor = connection.cursor()
    cursor.execute(f"CREATE TABLE psycopg2_{number}(a int)")
    cursor.execute(f"SET TimeZone = '{ZONES[number % 4]}'")
    cursor.execute(f"SET lock_timeout = {60001 + number}")
    connection.commit()
    for round in rounds():
        x = rng.randrange(1000)
        cursor.execute("SELECT %s + 1", (x,))
        expect(cursor.fetchone()[0], x + 1)
        cursor.execute(f"INSERT INTO psycopg2_{number} VALUES (%s)", (x,))
        connection.commit()
        try:
            cursor.execute("SELECT 1 / 0")
            raise AssertionError("no error")
        except psycopg2.errors.DivisionByZero:
            connection.rollback()
        cursor.execute(f"SELECT count(*) FROM psycopg2_{number}")
        expect(cursor.fetchone()[0], round + 1)
        connection.rollback()
        cursor.execute("SET LOCAL work_mem = %s", (f"{number + 64}kB",))
        cursor.execute("SET TimeZone = 'Africa/Cairo'")
        cursor.execute("SHOW work_mem")
        expect(cursor.fetchone()[0], f"{number + 64}kB")
        # Takes the SET back, too.
        connection.rollback()
        cursor.execute("SELECT current_setting('TimeZone'), a FROM drivers_shared WHERE a = %s", (number,))
        expect(cursor.fetchone(), (ZONES[number % 4], number))
        connection.commit()
        cursor.execute("SHOW lock_timeout")
        expect(cursor.fetchone()[0], f"{60001 + number}ms")
        connection.commit()
        if round % 5 == number % 5:
            cursor.execute("SELECT pg_advisory_lock(%s)", (number,))
            cursor.execute("CREATE TEMP TABLE mine AS SELECT %s AS x", (x,))
            connection.commit()
            cursor.execute("SELECT x FROM mine")
            expect(cursor.fetchall(), [(x,)])
            cursor.execute("DROP TABLE mine")
            connection.commit()
            cursor.execute("SELECT pg_advisory_unlock(%s)", (number,))
            expect(cursor.fetchone()[0], True)
            connection.commit()
        with connection.cursor(name="named") as named:
            named.itersize = 30
            named.execute("SELECT n FROM generate_series(1, 100) n")
            expect([row[0] for row in named], list(range(1, 101)))
        connection.commit()
        if round % 9 == number % 9:
            cursor.execute(f"ALTER TABLE psycopg2_{number} ADD COLUMN c{round} int DEFAULT {round}")
            connection.commit()
            cursor.execute(f"ALTER TABLE drivers_shared ALTER b SET DEFAULT {round}")
            connection.commit()
            cursor.execute(f"SELECT * FROM psycopg2_{number} LIMIT 1")
            expect(cursor.fetchone()[-1], round)
            connection.commit()
    connection.close()


def in_threads(client):
    faults = []

    def guarded(number):
        try:
            client(number)
        except BaseException as fault:
            faults.append((number, fault))

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        print(faults[:3], file=sys.stderr)
        raise faults[0][1]


if DRIVER == "asyncpg":
    asyncio.run(asyncpg_all())
else:
    in_threads({"psycopg": psycopg_client, "psycopg2": psycopg2_client}[DRIVER])
print("all right")
