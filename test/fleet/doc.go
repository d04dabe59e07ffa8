// Package fleet runs one real cluster manager, as a process over a real etcd,
// against a fleet of simulated storage nodes: they speak to it over real
// connections as nodes do, and keep of thousands of groups no more than what
// they report. It measures what the manager spends on heartbeats and how long
// the leaders of a node that dies take to be replaced.
package fleet
