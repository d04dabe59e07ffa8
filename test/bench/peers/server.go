package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/pinetree-db/pinetree/test/bench/peers/replica"
)

// serverCommand runs one server until its standard input ends. For each line
// there it prints the server's status: so it lives no longer than the process
// that started it, and needs no port to be asked.
func serverCommand(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	name := flags.String("system", "", "what to serve")
	id := flags.Int("id", 0, "which of the servers this is, from 1 on")
	dir := flags.String("dir", "", "its own, empty directory")
	peers := flags.String("peers", "", "addresses of all servers for each other")
	clients := flags.String("clients", "", "addresses of all servers for the load")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s, err := systemOf(*name)
	if err != nil {
		return err
	}
	cfg := replica.Config{
		ID: replica.ID(*id), Dir: *dir, Front: s.front, Batch: s.batch,
		Peers: strings.Split(*peers, ","), Clients: strings.Split(*clients, ","),
	}
	if len(cfg.Peers) != replica.Count || len(cfg.Clients) != replica.Count || *id < 1 || *id > replica.Count {
		return fmt.Errorf("a server needs an id from 1 to %d and as many --peers and --clients", replica.Count)
	}
	server, err := s.start(cfg)
	if err != nil {
		return fmt.Errorf("start %s, server %d: %w", *name, *id, err)
	}
	return errors.Join(answer(server), server.Close())
}

func answer(server replica.Replica) error {
	questions, answers := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for questions.Scan() {
		status, err := server.Status()
		if err != nil {
			status = replica.Status{Problem: err.Error()}
		}
		if err := answers.Encode(status); err != nil {
			return err
		}
	}
	return questions.Err()
}
