// A backend in Go that verifies access tokens itself, by the public keys: `go run ./verify OPS_URL ISSUER TOKEN EXCHANGED`.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

type metadata struct {
	Issuer     string   `json:"issuer"`
	JwksURI    string   `json:"jwks_uri"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
}

func main() {
	ops, issuer, token, exchanged := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	answer, err := http.Get(ops + "/.well-known/openid-configuration")
	check(err)
	defer answer.Body.Close()
	var found metadata
	check(json.NewDecoder(answer.Body).Decode(&found))
	if found.Issuer != issuer {
		log.Fatal("another issuer: ", found.Issuer)
	}
	keys, err := keyfunc.NewDefault([]string{found.JwksURI})
	check(err)
	verify := func(token string) (*jwt.Token, error) {
		claims := jwt.MapClaims{}
		parsed, err := jwt.ParseWithClaims(token, claims, keys.Keyfunc, jwt.WithValidMethods(found.Algorithms),
			jwt.WithIssuer(issuer), jwt.WithAudience(issuer), jwt.WithExpirationRequired())
		// An ID token, a logout token and the like have another type.
		if err == nil && parsed.Header["typ"] != "at+jwt" {
			return nil, errors.New("no access token")
		}
		// A token that was exchanged is good for its scopes alone, and this backend knows none.
		if _, narrow := claims["scope"]; err == nil && narrow {
			return nil, errors.New("good for its scopes alone")
		}
		return parsed, err
	}
	verified, err := verify(token)
	check(err)
	user, err := verified.Claims.GetSubject()
	check(err)
	fmt.Println("user:", user, "by", verified.Header["alg"])

	changed := []byte(token)
	place := len(changed) - 20
	if changed[place] == 'A' {
		changed[place] = 'B'
	} else {
		changed[place] = 'A'
	}
	for _, refused := range []string{string(changed), exchanged} {
		if _, err = verify(refused); err != nil {
			fmt.Println("refused:", err)
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
