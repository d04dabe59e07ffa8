package localcluster

import "fmt"

// Examples are commands to try on a cluster on this machine.
func Examples(manager string) string {
	return fmt.Sprintf(`  export PINETREE_MANAGER=%s
  clustermgr node ls
  clustermgr volume create notes --format redo
  pinetree key put --volume notes greeting hello
  pinetree key get --volume notes greeting --read consistent
  clustermgr leader show
  clustermgr leader move 1
  clustermgr events
`, manager)
}
