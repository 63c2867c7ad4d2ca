// Fifty pgx clients on few servers, in each of its query modes: every answer is checked. usage: pgx URL [FILE]
// It ends after some rounds, or when FILE is there, after a few. The test has made the table drivers_shared.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const clients, rounds, leastRounds = 50, 9, 2

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}

var zones = []string{"Asia/Tokyo", "Europe/Paris", "America/New_York", "UTC"}

func goesOn(round int) bool {
	if len(os.Args) < 3 {
		return round < rounds
	}
	if round < leastRounds {
		return true
	}
	_, err := os.Stat(os.Args[2])
	return err != nil
}

func hasCode(err error, code string) bool {
	var pgError *pgconn.PgError
	return errors.As(err, &pgError) && pgError.Code == code
}

// What keeps the client at its server until it is gone.
func pinned(ctx context.Context, c *pgx.Conn, number int, round int) error {
	for _, sql := range []string{
		fmt.Sprintf("SELECT pg_advisory_lock(%d)", number),
		fmt.Sprintf("CREATE TEMP TABLE mine AS SELECT %d AS x", round),
		fmt.Sprintf("LISTEN ear_%d", number),
		fmt.Sprintf("NOTIFY ear_%d, '%d'", number, round),
	} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	heard, err := c.WaitForNotification(ctx)
	if err != nil || heard.Payload != fmt.Sprint(round) {
		return fmt.Errorf("notification: %v, %w", heard, err)
	}
	var x int
	// Another table under the same name each time: no plan may outlive it.
	if err := c.QueryRow(ctx, fmt.Sprintf("SELECT x FROM mine -- %d", round)).Scan(&x); err != nil || x != round {
		return fmt.Errorf("temporary table: %d, %w", x, err)
	}
	for _, sql := range []string{"UNLISTEN *", "DROP TABLE mine"} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return err
		}
	}
	var released bool
	if err := c.QueryRow(ctx, fmt.Sprintf("SELECT pg_advisory_unlock(%d)", number)).Scan(&released); err != nil || !released {
		return fmt.Errorf("advisory lock: %v, %w", released, err)
	}
	return nil
}

func one(ctx context.Context, url string, number int) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	config.DefaultQueryExecMode = modes[number%len(modes)]
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	table := fmt.Sprintf("pgx_%d", number)
	if _, err := c.Exec(ctx, "CREATE TABLE "+table+"(a int)"); err != nil {
		return err
	}
	zone := zones[number%4]
	if _, err := c.Exec(ctx, "SET TimeZone = '"+zone+"'"); err != nil {
		return err
	}
	lockTimeout := fmt.Sprintf("%dms", 60001+number)
	if _, err := c.Exec(ctx, "SET lock_timeout = '"+lockTimeout+"'"); err != nil {
		return err
	}
	for r := 0; goesOn(r); r++ {
		var n int
		if err := c.QueryRow(ctx, "SELECT $1::int + 1", r).Scan(&n); err != nil || n != r+1 {
			return fmt.Errorf("sum: %d, %w", n, err)
		}
		err := c.QueryRow(ctx, "SELECT 1 / $1::int", 0).Scan(&n)
		if !hasCode(err, "22012") {
			return fmt.Errorf("division: %v", err)
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL work_mem = '%dkB'", 64+number)); err != nil {
			return err
		}
		var said string
		if err := tx.QueryRow(ctx, "SELECT current_setting('work_mem')").Scan(&said); err != nil ||
			said != fmt.Sprintf("%dkB", 64+number) {
			return fmt.Errorf("work_mem: %s, %w", said, err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO "+table+" VALUES ($1)", r); err != nil {
			return err
		}
		if err := tx.Commit(ctx); err != nil {
			return err
		}
		batch := &pgx.Batch{}
		for i := 0; i < 5; i++ {
			batch.Queue("SELECT $1::int * 3", i)
		}
		results := c.SendBatch(ctx, batch)
		for i := 0; i < 5; i++ {
			if err := results.QueryRow().Scan(&n); err != nil || n != i*3 {
				return fmt.Errorf("batch: %d, %w", n, err)
			}
		}
		if err := results.Close(); err != nil {
			return err
		}
		if err := c.QueryRow(ctx, "SELECT count(*)::int FROM "+table).Scan(&n); err != nil || n != r+1 {
			return fmt.Errorf("count: %d, %w", n, err)
		}
		if _, err := c.Exec(ctx, "SET TimeZone = 'Nowhere/Here'"); !hasCode(err, "22023") {
			return fmt.Errorf("SET: %v", err)
		}
		if err := c.QueryRow(ctx, "SELECT current_setting('TimeZone')").Scan(&said); err != nil || said != zone {
			return fmt.Errorf("TimeZone: %s, %w", said, err)
		}
		if err := c.QueryRow(ctx, "SELECT current_setting('lock_timeout')").Scan(&said); err != nil || said != lockTimeout {
			return fmt.Errorf("lock_timeout: %s, %w", said, err)
		}
		if r%5 == number%5 {
			if err := pinned(ctx, c, number, r); err != nil {
				return err
			}
		}
		if err := c.QueryRow(ctx, "SELECT a FROM drivers_shared WHERE a = $1", number).Scan(&n); err != nil || n != number {
			return fmt.Errorf("shared table: %d, %w", n, err)
		}
		if r%9 == number%9 {
			for _, ddl := range []string{
				fmt.Sprintf("ALTER TABLE drivers_shared ALTER b SET DEFAULT %d", r),
				fmt.Sprintf("ALTER TABLE %s ADD COLUMN c%d int DEFAULT %d", table, r, r),
			} {
				if _, err := c.Exec(ctx, ddl); err != nil {
					return err
				}
			}
			if err := c.QueryRow(ctx, fmt.Sprintf("SELECT c%d FROM %s LIMIT 1", r, table)).Scan(&n); err != nil || n != r {
				return fmt.Errorf("new column: %d, %w", n, err)
			}
		}
		name := fmt.Sprintf("named_%d", r%3)
		if _, err := c.Prepare(ctx, name, fmt.Sprintf("SELECT %d + $1::int", number%5)); err != nil {
			return err
		}
		if err := c.QueryRow(ctx, name, pgx.QueryExecModeCacheStatement, 1).Scan(&n); err != nil || n != number%5+1 {
			return fmt.Errorf("named: %d, %w", n, err)
		}
		if err := c.Deallocate(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	var group sync.WaitGroup
	faults := make(chan error, clients)
	for i := 0; i < clients; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			if err := one(context.Background(), os.Args[1], i); err != nil {
				faults <- fmt.Errorf("client %d: %w", i, err)
			}
		}()
	}
	group.Wait()
	close(faults)
	for fault := range faults {
		fmt.Fprintln(os.Stderr, fault)
		os.Exit(1)
	}
	fmt.Println("all right")
}
