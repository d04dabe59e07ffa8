// Command protogen compiles Pinetree's .proto files and writes the Go code
// beside them, and for the Meta service the handlers that serve it as JSON over
// HTTP, with their OpenAPI description. It needs no protoc: protocompile parses,
// and the plugins are run with `go tool`. With -out it writes elsewhere, so that a
// test can compare.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	root := flag.String("root", ".", "the project's root folder")
	out := flag.String("out", "", "where to write; the root when empty")
	flag.Parse()
	if *out == "" {
		*out = *root
	}
	if err := run(*root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

var sources = []string{"proto/storepb/store.proto", "proto/wirepb/compute.proto", "proto/wirepb/cluster.proto", "proto/wirepb/meta.proto", "proto/wirepb/raft.proto"}

func run(root, out string) error {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{root}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), sources...)
	if err != nil {
		return err
	}
	var described []*descriptorpb.FileDescriptorProto
	for _, f := range files {
		described = append(described, (*descriptorpb.FileDescriptorProto)(protoutil.ProtoFromFileDescriptor(f)))
	}
	for _, p := range plugins {
		if err := p.generate(root, out, described); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// A plugin is a generator of code.
type plugin struct {
	name      string
	modfile   string // of the module that pins it, when that is not the project's own
	sources   []string
	parameter string
	// place tells where a file that the plugin makes is put, and may change it.
	place func(name, content string) (path, placed string)
}

var meta = []string{"proto/wirepb/meta.proto"}

var plugins = []plugin{
	{name: "protoc-gen-go", sources: sources, parameter: "paths=source_relative", place: beside},
	{name: "protoc-gen-go-grpc", sources: sources, parameter: "paths=source_relative", place: beside},
	{
		name: "protoc-gen-grpc-gateway", modfile: "tools/go.mod", sources: meta, place: apart,
		parameter: "paths=source_relative,standalone=true,grpc_api_configuration=proto/gatewaypb/http.yaml",
	},
	{
		name: "protoc-gen-openapiv2", modfile: "tools/go.mod", sources: meta, place: asOpenAPI,
		parameter: "grpc_api_configuration=proto/gatewaypb/http.yaml,openapi_configuration=proto/gatewaypb/openapi.yaml,json_names_for_fields=false,disable_default_errors=true",
	},
}

func beside(name, content string) (string, string) { return name, content }

// apart puts the handlers into a package of their own, so that only those that
// serve HTTP link it. That package says what it is itself.
func apart(_, content string) (string, string) {
	head, comment, _ := strings.Cut(content, "/*\n")
	_, code, _ := strings.Cut(comment, "*/\npackage wirepb\n")
	return "proto/gatewaypb/meta_handlers.pb.go", head + "package gatewaypb\n" + code
}

func asOpenAPI(_, content string) (string, string) { return "proto/gatewaypb/openapi.json", content }

func (p plugin) generate(root, out string, files []*descriptorpb.FileDescriptorProto) error {
	input, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: p.sources, Parameter: proto.String(p.parameter), ProtoFile: files,
	})
	if err != nil {
		return err
	}
	args := []string{"tool", p.name}
	if p.modfile != "" {
		args = []string{"tool", "-modfile=" + p.modfile, p.name}
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return err
	}
	response := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(output, response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", *response.Error)
	}
	for _, f := range response.File {
		name, content := p.place(f.GetName(), strings.ReplaceAll(f.GetContent(), "\r\n", "\n"))
		path := filepath.Join(out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
