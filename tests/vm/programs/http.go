// SPDX-License-Identifier: MIT

// A static Go program: its own runtime makes the system calls, and no C library is there.
//
//	http serve PORT       answers with the body's length and its checksum
//	http ask URL COUNT    so many POSTs at once, with bodies of different lengths, over connections that are kept
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func serve(port string) error {
	return http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		n, err := io.Copy(hash, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d %x", n, hash.Sum(nil))
	}))
}

func ask(url string, n int) error {
	body := bytes.Repeat([]byte("csvn"), 5000*n)
	response, err := http.Post(url, "text/plain", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("%d %x", len(body), sha256.Sum256(body)); want != string(got) {
		return fmt.Errorf("expected %s, got %s", want, got)
	}
	return nil
}

func askAll(url string, count int) error {
	var group sync.WaitGroup
	failures := make(chan error, count)
	for n := 0; n < count; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			for again := 0; again < 3; again++ {
				if err := ask(url, n); err != nil {
					failures <- err
					return
				}
			}
		}(n)
	}
	group.Wait()
	close(failures)
	return <-failures
}

func main() {
	var err error
	if os.Args[1] == "serve" {
		err = serve(os.Args[2])
	} else {
		var count int
		if count, err = strconv.Atoi(os.Args[3]); err == nil {
			err = askAll(os.Args[2], count)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("all answered")
}
