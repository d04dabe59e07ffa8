package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/pinetree-db/pinetree/adapter/ship"
	"github.com/pinetree-db/pinetree/adapter/ship/example/pagestore"
)

// story is one run of the example. It belongs to the goroutine of tell, but for the
// ledger.
type story struct {
	out    io.Writer
	began  time.Time
	where  place
	steps  []int
	rounds int

	client   *ship.Client // of the one who checks
	books    ledger
	children []*child
	reader   *lookout
	kills    int
	checks   int
	settled  [2]int // in doubt that turned out committed, and rejected
}

// tell tells the whole story. It returns an error when anything is not as it must
// be; what it started is ended and deleted.
func (s *story) tell(ctx context.Context, binary string) (err error) {
	fmt.Fprintln(s.out, "A bank on a page store: its compute node keeps nothing, is killed at each of its steps, and no money is lost.")
	if s.where.managers == nil {
		cluster, addr, err := startStorage(ctx, binary)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, cluster.close()) }()
		s.where.managers = []string{addr}
		s.say("storage", "three storage nodes and a manager, each a process; the manager is at %s", addr)
	}
	defer func() {
		killAll(s.children)
		if s.reader != nil {
			<-s.reader.over
		}
	}()
	if err := createVolume(ctx, s.where); err != nil {
		return err
	}
	if s.client, err = dial(ctx, s.where); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.client.Close()) }()
	for _, part := range []func(context.Context) error{s.found, s.killAtSteps, s.killAtLarge, s.replaceRunning, s.replacePaused, s.end} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) say(topic, format string, args ...any) { say(s.out, s.began, topic, format, args...) }

// start starts a compute node.
func (s *story) start(args ...string) (*child, error) {
	c, err := startChild(len(s.children)+1, s.where, s.books.hear, append([]string{roleCompute}, args...)...)
	if err == nil {
		s.children = append(s.children, c)
	}
	return c, err
}

// found opens the bank and lets somebody look on from then on.
func (s *story) found(ctx context.Context) error {
	c, err := s.start()
	if err != nil {
		return err
	}
	e, err := c.until(ctx, opened, 1)
	if err != nil {
		return err
	}
	if e.Commits != 0 || e.Term != 1 {
		return fmt.Errorf("volume %s has had %d transactions and compute term %d already; name a new one with --volume", s.where.volume, e.Commits, e.Term)
	}
	if _, err := c.until(ctx, done, 20); err != nil {
		return err
	}
	s.say("bank", "%d accounts with %d each on %d pages of 8 KiB, of which the compute node's pool holds %d", accounts, firstBalance, bankPages, poolPages)
	s.kill(c)
	reader, err := startChild(0, s.where, s.books.hear, roleReader)
	if err != nil {
		return err
	}
	s.children = append(s.children, reader)
	s.reader = watchOn(reader, s.books.lastAcked)
	s.say("reader", "a second compute node only reads, from any replica, at least as new as what the clients were told last")
	return nil
}

// kill ends a compute node and counts it.
func (s *story) kill(c *child) {
	c.kill()
	s.kills++
}

// killAtSteps kills a compute node at each step, and the next one at any time.
func (s *story) killAtSteps(ctx context.Context) error {
	for round := range s.rounds {
		for _, step := range s.steps {
			// A step of a transaction comes again and again.
			time := 1
			if step > int(pagestore.Recovered) && step != int(pagestore.Closing) {
				time += rand.IntN(30)
			}
			if err := s.killAt(ctx, step, []string{"--die-at", fmt.Sprint(step), "--time", fmt.Sprint(time)}, round > 0); err != nil {
				return fmt.Errorf("after the kill at step %d, %s: %w", step, stepName(step), err)
			}
		}
	}
	return nil
}

// killAtLarge kills a compute node whose transactions take a while to leave.
func (s *story) killAtLarge(ctx context.Context) error {
	for range 2 * s.rounds {
		step := int(pagestore.Shipped)
		if err := s.killAt(ctx, step, []string{"--large", "--die-at", fmt.Sprint(step), "--time", fmt.Sprint(1 + rand.IntN(5))}, true); err != nil {
			return fmt.Errorf("after the kill within a large transaction: %w", err)
		}
	}
	return nil
}

// killAt kills a compute node that stands at a step, at once or a little later, and
// checks what the next one finds.
func (s *story) killAt(ctx context.Context, step int, args []string, linger bool) error {
	c, err := s.start(args...)
	if err != nil {
		return err
	}
	if step == int(pagestore.Closing) {
		if _, err := c.until(ctx, done, 5); err != nil {
			return err
		}
		_ = c.stdin.Close()
	}
	if _, err := c.until(ctx, standing, 1); err != nil {
		return err
	}
	if linger {
		time.Sleep(time.Duration(rand.Int64N(int64(8 * time.Millisecond))))
	}
	s.kill(c)
	next, err := s.start()
	if err != nil {
		return err
	}
	found, err := s.recovered(ctx, next)
	if err != nil {
		return err
	}
	if _, err := next.until(ctx, done, 1+rand.IntN(20)); err != nil {
		return err
	}
	s.kill(next) // at whatever it is doing
	s.say("kill", "%2d %-42s → %s", step, stepName(step), found)
	return nil
}

// replaceRunning starts a second compute node while the first one is at work.
func (s *story) replaceRunning(ctx context.Context) error {
	first, second, err := s.two(ctx, func(*child) error { return nil })
	if err != nil {
		return err
	}
	s.say("failover", "process %d takes over while process %d is at work", second.number, first.number)
	return s.handOver(ctx, first, second)
}

// replacePaused stops a compute node as a long pause of its machine does, and
// continues it when another one has taken over.
func (s *story) replacePaused(ctx context.Context) error {
	first, second, err := s.two(ctx, pauseProcess)
	if err != nil {
		return err
	}
	if _, err := second.until(ctx, done, 20); err != nil {
		return err
	}
	if err := continueProcess(first); err != nil {
		return err
	}
	s.say("failover", "process %d took over while process %d was paused, which now goes on and knows of nothing", second.number, first.number)
	return s.handOver(ctx, first, second)
}

// two starts a compute node, lets something be done to it, and starts another one.
func (s *story) two(ctx context.Context, then func(*child) error) (first, second *child, err error) {
	if first, err = s.start(); err != nil {
		return nil, nil, err
	}
	if _, err = s.recovered(ctx, first); err != nil {
		return nil, nil, err
	}
	if _, err = first.until(ctx, done, 20); err != nil {
		return nil, nil, err
	}
	if err = then(first); err != nil {
		return nil, nil, err
	}
	if second, err = s.start(); err != nil {
		return nil, nil, err
	}
	_, err = second.until(ctx, opened, 1)
	return first, second, err
}

// handOver checks that the first compute node hears that it was replaced and ends,
// and that the second one has the bank as it was left.
func (s *story) handOver(ctx context.Context, first, second *child) error {
	e, err := first.until(ctx, fenced, 1)
	if err != nil {
		return err
	}
	<-first.exited
	s.say("", "process %d says: %s", first.number, e.Error)
	found, err := s.recovered(ctx, second)
	if err != nil {
		return err
	}
	if _, err := second.until(ctx, done, second.count(done)+20); err != nil {
		return err
	}
	s.say("", "process %d: %s", second.number, found)
	s.kill(second)
	return nil
}

// end lets a compute node end in peace, checks once more, and sums up.
func (s *story) end(ctx context.Context) error {
	c, err := s.start()
	if err != nil {
		return err
	}
	if _, err := s.recovered(ctx, c); err != nil {
		return err
	}
	if err := c.stop(ctx); err != nil {
		return err
	}
	if err := s.reader.end(ctx); err != nil {
		return err
	}
	if err := s.check(ctx, s.books.lastAcked()); err != nil {
		return err
	}
	snapshots, err := s.books.checkSnapshots()
	if err != nil {
		return fmt.Errorf("the read-only compute node: %w", err)
	}
	if snapshots == 0 {
		return errors.New("the read-only compute node has seen nothing")
	}
	yes, no := s.books.numbers()
	s.say("reader", "%d snapshots, each of them just what the transactions up to its LSN make of the bank", snapshots)
	s.say("end", "%d compute nodes killed, 2 replaced; %d transactions happened, %d never did; of those in doubt %d turned out committed and %d rejected, none unknown",
		s.kills, yes, no, s.settled[0], s.settled[1])
	s.say("", "%d checks of every account on every replica: %d in all, every transaction that was acknowledged is there, none half", s.checks, total)
	return nil
}
