// Package gatewaypb turns HTTP and JSON into calls of the Meta service: the
// generated handlers, under the paths that http.yaml gives them, and the OpenAPI
// description of them. It knows messages, not who answers them.
package gatewaypb

import _ "embed"

// OpenAPI describes what the handlers take and answer, as OpenAPI 2.0 in JSON.
//
//go:embed openapi.json
var OpenAPI []byte
