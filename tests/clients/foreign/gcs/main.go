// SPDX-License-Identifier: Apache-2.0

// fake-gcs-server with the preconditions that it lacks: those of compose, rewrite, delete, patch and of reading.
//
// The service decides them in one step with the act; here one lock does that. Without them nothing would tell
// whether a client sends them.
//
//	client HOST:PORT
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

const objects = "/storage/v1/b/"

type guard struct {
	next   http.Handler
	server *fakestorage.Server
	lock   sync.RWMutex
}

// generation is 0 for an object that is not there.
func (g *guard) generation(bucket, name string) int64 {
	object, err := g.server.GetObjectStreaming(bucket, name)
	if err != nil {
		return 0
	}
	defer object.Close()
	return object.Generation
}

func refuse(w http.ResponseWriter, status int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	one := map[string]string{"domain": "global", "reason": reason, "message": message}
	body := map[string]any{"code": status, "message": message, "errors": []any{one}}
	_ = json.NewEncoder(w).Encode(map[string]any{"error": body})
}

// wanted is the number of a condition; false if it is not asked for.
func wanted(query url.Values, name string) (int64, bool) {
	number, err := strconv.ParseInt(query.Get(name), 10, 64)
	return number, err == nil
}

type composition struct {
	SourceObjects []struct {
		Name                string
		ObjectPreconditions struct {
			IfGenerationMatch json.Number
		}
	}
}

func unescaped(part string) string {
	name, err := url.PathUnescape(part)
	if err != nil {
		return part
	}
	return name
}

// met is false if it has refused.
func (g *guard) met(w http.ResponseWriter, r *http.Request, parts []string) bool {
	query := r.URL.Query()
	bucket, name := unescaped(parts[0]), unescaped(parts[2])
	target, composes := name, len(parts) == 4 && parts[3] == "compose"
	if len(parts) == 8 && parts[3] == "rewriteTo" {
		target = unescaped(parts[7])
		from := g.generation(bucket, name)
		if number, asked := wanted(query, "ifSourceGenerationMatch"); asked && from != 0 && number != from {
			refuse(w, http.StatusPreconditionFailed, "conditionNotMet", "source generation")
			return false
		}
	}
	now := g.generation(bucket, target)
	missing := now == 0 && (r.Method == http.MethodGet || r.Method == http.MethodPatch || r.Method == http.MethodDelete)
	if number, asked := wanted(query, "ifGenerationMatch"); asked && !missing && number != now {
		refuse(w, http.StatusPreconditionFailed, "conditionNotMet", "generation")
		return false
	}
	if !composes {
		return true
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	r.Body = io.NopCloser(bytes.NewReader(body))
	var asked composition
	if err != nil || json.Unmarshal(body, &asked) != nil {
		return true
	}
	for _, source := range asked.SourceObjects {
		found := g.generation(bucket, source.Name)
		if found == 0 {
			refuse(w, http.StatusNotFound, "notFound", fmt.Sprintf("Object %s/%s not found.", bucket, source.Name))
			return false
		}
		number, err := source.ObjectPreconditions.IfGenerationMatch.Int64()
		if err == nil && number != found {
			refuse(w, http.StatusPreconditionFailed, "conditionNotMet", "component")
			return false
		}
	}
	return true
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), objects), "/")
	if !strings.HasPrefix(r.URL.EscapedPath(), objects) || len(parts) < 3 || parts[1] != "o" || parts[2] == "" {
		if strings.HasPrefix(r.URL.EscapedPath(), "/upload/") { // an upload decides its condition itself
			body, err := io.ReadAll(r.Body) // not under the lock: a client may be slow
			if err != nil {
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			g.lock.Lock()
			defer g.lock.Unlock()
		}
		g.next.ServeHTTP(w, r)
		return
	}
	if r.Method == http.MethodGet {
		g.lock.RLock()
		defer g.lock.RUnlock()
	} else {
		g.lock.Lock()
		defer g.lock.Unlock()
	}
	if g.met(w, r, parts) {
		g.next.ServeHTTP(w, r)
	}
}

func main() {
	server, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, Writer: io.Discard})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(os.Args[1], &guard{next: server.HTTPHandler(), server: server}))
}
