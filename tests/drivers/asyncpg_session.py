"""What applications do with asyncpg, against the URL of the first argument. In transaction mode (second argument) its
statement cache is off, as for every pooler without prepared statements."""

import asyncio
import datetime
import sys

import asyncpg

url, mode = sys.argv[1], sys.argv[2]
options = {} if mode == "session" else {"statement_cache_size": 0}


def equal(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


async def main():
    connection = await asyncpg.connect(
        url, server_settings={"application_name": "asyncpg test", "timezone": "Europe/Paris"}, **options
    )
    equal(await connection.fetchval("SELECT $1::int + 1", 41), 42)
    row = await connection.fetchrow("SELECT $1::date AS day, $2::jsonb AS j, NULL AS n", datetime.date(2026, 1, 31), "[1]")
    equal(dict(row), {"day": datetime.date(2026, 1, 31), "j": "[1]", "n": None})
    for _ in range(3):
        equal(await connection.fetchval("SHOW application_name"), "asyncpg test")
        equal(await connection.fetchval("SHOW timezone"), "Europe/Paris")

    table = f"asyncpg_items_{mode}"
    await connection.execute(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id int, word text)")
    async with connection.transaction():
        await connection.executemany(
            f"INSERT INTO {table} VALUES ($1, $2)", [(i, f"word {i}") for i in range(500)]
        )
        try:
            async with connection.transaction():
                await connection.execute(f"INSERT INTO {table} VALUES (9999, 'lost')")
                await connection.execute("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            pass
        numbers = [r["id"] async for r in connection.cursor(f"SELECT id FROM {table} ORDER BY id", prefetch=50)]
        equal(numbers, list(range(500)))
    equal(await connection.fetchval(f"SELECT count(*) FROM {table}"), 500)

    try:
        await connection.fetch("SELECT nonsense")
        raise AssertionError("no error")
    except asyncpg.UndefinedColumnError:
        pass

    equal(await connection.copy_records_to_table(table, records=[(i, "c") for i in range(700, 1700)]), "COPY 1000")
    got = bytearray()

    async def take(data):
        got.extend(data)

    equal(await connection.copy_from_query(f"SELECT id FROM {table} WHERE id >= 700", output=take), "COPY 1000")
    equal(len(got.split()), 1000)

    equal(len(await connection.fetchval("SELECT repeat('z', 5000000)")), 5_000_000)

    # asyncio's timeout sends a CancelRequest.
    try:
        await connection.fetch("SELECT pg_sleep(30)", timeout=0.2)
        raise AssertionError("not canceled")
    except asyncio.TimeoutError:
        pass
    equal(await connection.fetchval("SELECT 'well'"), "well")

    if mode == "session":
        statement = await connection.prepare("SELECT $1::int * 2")
        equal([await statement.fetchval(i) for i in range(3)], [0, 2, 4])
    heard = asyncio.get_running_loop().create_future()
    await connection.add_listener("asyncpg_news", lambda *news: heard.set_result(news[3]))
    other = await asyncpg.connect(url, **options)
    await other.execute("NOTIFY asyncpg_news, 'hello'")
    await other.close()
    equal(await asyncio.wait_for(heard, 5), "hello")
    await connection.execute(f"DROP TABLE {table}")
    await connection.close()

    # Its own pool before ours; releasing a connection runs a reset query.
    async with asyncpg.create_pool(url, min_size=5, max_size=10, **options) as pool:

        async def one(number):
            async with pool.acquire() as mine:
                async with mine.transaction():
                    return await mine.fetchval("SELECT $1::int", number)

        equal(await asyncio.gather(*(one(n) for n in range(200))), list(range(200)))


asyncio.run(main())
print("all right")
