// Fifty pgx clients on few servers, in each of its query modes: every answer is checked. usage: pgx URL
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

const clients, rounds = 50, 20

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
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
	for r := 0; r < rounds; r++ {
		var n int
		if err := c.QueryRow(ctx, "SELECT $1::int + 1", r).Scan(&n); err != nil || n != r+1 {
			return fmt.Errorf("sum: %d, %w", n, err)
		}
		err := c.QueryRow(ctx, "SELECT 1 / $1::int", 0).Scan(&n)
		var pgError *pgconn.PgError
		if !errors.As(err, &pgError) || pgError.Code != "22012" {
			return fmt.Errorf("division: %v", err)
		}
		tx, err := c.Begin(ctx)
		if err != nil {
			return err
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
