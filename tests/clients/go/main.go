// A backend in Go with generated code: `go run . HOST:PORT [TOKEN_FILE]`.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	countersignv1 "example.com/backend/gen/countersign/v1"
)

const email, password = "go@example.com", "kestrel lantern orbit"

// The file with the caller's token. It is read for each call, because a projected one is replaced.
type tokenFile string

func (path tokenFile) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(path))
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, err
}

// True with TLS, which this example goes without.
func (tokenFile) RequireTransportSecurity() bool { return false }

func main() {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if len(os.Args) > 2 { // With a callers' file.
		options = append(options, grpc.WithPerRPCCredentials(tokenFile(os.Args[2])))
	}
	channel, err := grpc.NewClient(os.Args[1], options...)
	check(err)
	defer channel.Close()
	users := countersignv1.NewAuthServiceClient(channel)
	tokens := countersignv1.NewTokenServiceClient(channel)
	placeholders := countersignv1.NewFederationServiceClient(channel)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	client := &countersignv1.ClientContext{IpAddress: "203.0.113.7"}
	_, err = users.Register(ctx, &countersignv1.RegisterRequest{Email: email, Password: password, Name: "Go Example", Client: client})
	check(err)
	login, err := users.Login(ctx, &countersignv1.LoginRequest{Email: email, Password: password, Client: client})
	check(err)
	signedIn := login.GetSignedIn()
	if signedIn == nil { // An unset result, or one that this code does not know, means: not signed in.
		log.Fatal("not signed in")
	}
	accessToken := signedIn.Tokens.AccessToken

	verified, err := tokens.VerifyToken(ctx, &countersignv1.VerifyTokenRequest{AccessToken: accessToken})
	check(err)
	fmt.Println("active:", verified.Active, "for", verified.CacheTtl.Seconds, "seconds")

	resolve := func(name, template string) (*countersignv1.ResolveEndpointResponse, error) {
		endpoint, err := structpb.NewStruct(map[string]any{
			"baseURL": "https://llm.example.com/v1",
			"headers": map[string]any{name: template},
		})
		check(err)
		conversation := "c-1"
		return placeholders.ResolveEndpoint(ctx, &countersignv1.ResolveEndpointRequest{
			Subject: &countersignv1.Subject{Subject: &countersignv1.Subject_AccessToken{AccessToken: accessToken}},
			Target:  &countersignv1.ResolveEndpointRequest_Endpoint{Endpoint: endpoint},
			Body:    &countersignv1.RequestBody{ConversationId: &conversation},
		})
	}
	answer, err := resolve("X-User", "{{LIBRECHAT_USER_EMAIL}}")
	check(err)
	fmt.Println("X-User:", answer.Headers["X-User"])

	_, err = resolve("Authorization", "Bearer {{LIBRECHAT_OPENID_TOKEN}}")
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Println("refused:", status.Code(err), info.Reason)
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
