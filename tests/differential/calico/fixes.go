package main

import (
	"fmt"
	"strings"
)

const (
	vxlan         = "vxlan"
	sctpNamedPort = "sctp-named-port"
)

// The differences that a fix takes away:
//   vxlan: iptables: pods may not send to UDP 4789, whatever the policy; the fix is allowVXLANPacketsFromWorkloads
//   sctpNamedPort: eBPF: a named port never matches SCTP

// sctpEntry is the entry that the eBPF dataplane leaves out.
func sctpEntry(id uint64, member string, ipv6 bool) []byte {
	addr, rest, ok := strings.Cut(member, ",sctp:")
	if !ok {
		return nil
	}
	var port uint16
	if _, err := fmt.Sscan(rest, &port); err != nil {
		return nil
	}
	return portEntry(id, addr, port, 132, ipv6)
}
