// Package resolver lets any gRPC client reach a volume by name, with the plain
// generated stubs:
//
//	import _ "github.com/pinetree-db/pinetree/adapter/resolver"
//
//	conn, err := grpc.NewClient("pinetree://manager1:7000,manager2:7000/VOLUME?read=stale&zone=z1", ...)
//	answer, err := wirepb.NewReadsClient(conn).Key(ctx, ...)
//
// It asks the cluster managers where the volume's replicas are, connects to all
// of them, and picks one for each call: the leader, or for calls at a level that
// any replica may serve the nearest one that is fit. A call that a replica
// refuses because it does not lead is sent to the one that it names. What was
// learnt last goes on to be used while no manager answers. It knows nothing of
// what is asked: the level and the volume's id are in the caller's request.
//
// adapter/ship does more, on the same knowledge: it resends, hedges, and follows a
// leader that no route names.
package resolver
