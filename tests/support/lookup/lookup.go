// SPDX-License-Identifier: MIT

// Looks names up by Go's own resolver, and prints an address or an error for each.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	resolver := net.Resolver{PreferGo: true}
	for _, name := range os.Args[1:] {
		addresses, err := resolver.LookupHost(context.Background(), name)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(addresses[0])
	}
}
