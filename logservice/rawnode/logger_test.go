package rawnode

import "testing"

func TestTrap20RaftsPanicsPanic(t *testing.T) {
	for name, call := range map[string]func(raftLogger){
		"Panic":  func(l raftLogger) { l.Panic("x") },
		"Panicf": func(l raftLogger) { l.Panicf("%d", 1) },
		"Fatal":  func(l raftLogger) { l.Fatal("x") },
		"Fatalf": func(l raftLogger) { l.Fatalf("%d", 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s returns, and raft would go on", name)
				}
			}()
			call(raftLogger{})
		}()
	}
}
