"""The admin console as psycopg2 (simple protocol) and asyncpg (extended protocol) see it."""

import asyncio
import sys

import asyncpg
import psycopg2

url = sys.argv[1]
SHOWS = ["VERSION", "POOLS", "CLIENTS", "SERVERS", "STATS", "DATABASES", "USERS", "LISTS", "CONFIG", "CONNECTIONS"]

connection = psycopg2.connect(url)
connection.autocommit = True
cursor = connection.cursor()
simple = {}
for show in SHOWS:
    cursor.execute(f"SHOW {show}")
    rows = cursor.fetchall()
    assert rows, show
    simple[show] = [column.name for column in cursor.description]
cursor.execute("PAUSE")
cursor.execute("RESUME")
try:
    cursor.execute("PAUSE nowhere")
    raise AssertionError("no error")
except psycopg2.Error as error:
    assert error.pgcode == "3D000", error
cursor.execute("SHOW VERSION")
connection.close()


async def main():
    connection = await asyncpg.connect(url, statement_cache_size=0)
    for show in SHOWS:
        rows = await connection.fetch(f"SHOW {show}")
        assert rows, show
        assert list(rows[0].keys()) == simple[show], show
    await connection.execute("PAUSE")
    await connection.execute("RESUME")
    await connection.close()


asyncio.run(main())
print("all right")
