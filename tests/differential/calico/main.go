// Command calico judges connections with Calico's own code: its conversion of
// Kubernetes objects, Felix' calculation graph, and what Felix makes of that for
// the kernel: iptables chains, or the policy programs of the eBPF dataplane.
// Chains and programs run here, in small interpreters.
package main

import (
	"fmt"
	"net/netip"

	"github.com/projectcalico/calico/felix/calc"
	"github.com/projectcalico/calico/felix/config"
	"github.com/projectcalico/calico/felix/proto"
	"github.com/projectcalico/calico/libcalico-go/lib/backend/api"
	"github.com/projectcalico/calico/libcalico-go/lib/backend/k8s/conversion"
	"github.com/projectcalico/calico/libcalico-go/lib/backend/model"
	"github.com/projectcalico/calico/libcalico-go/lib/backend/syncersv1/updateprocessors"
	"github.com/projectcalico/calico/libcalico-go/lib/backend/watchersyncer"
	"github.com/sirupsen/logrus"

	"npc.example/differential/engine"
)

const node = "node" // where package engine puts the pods

// ebpf is set to judge with the eBPF dataplane, and not with iptables.
const ebpf = "ebpf"

func main() {
	logrus.SetLevel(logrus.PanicLevel)
	engine.Main(judgeCase)
}

func judgeCase(c *engine.Case, fix map[string]bool) ([]engine.Verdict, error) {
	nps, rest, err := c.NetworkPolicies()
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("this Calico has no cluster policies of Kubernetes")
	}
	f := newFelix()
	var plane dataplane = newIPTables(f, fix)
	if fix[ebpf] {
		plane = newEBPF(f, fix)
	}
	convert := conversion.NewConverter()
	namespaces, pods := c.Cluster()
	for _, ns := range namespaces {
		kv, err := convert.NamespaceToProfile(ns)
		if err := f.update(updateprocessors.NewProfileUpdateProcessor(), kv, err); err != nil {
			return nil, err
		}
	}
	for _, pod := range pods {
		kvs, err := convert.PodToWorkloadEndpoints(pod)
		for _, kv := range kvs {
			if err := f.update(updateprocessors.NewWorkloadEndpointUpdateProcessor(), kv, err); err != nil {
				return nil, err
			}
		}
	}
	for _, np := range nps {
		kv, err := convert.K8sNetworkPolicyToCalico(np)
		if err := f.update(updateprocessors.NewNetworkPolicyUpdateProcessor(), kv, err); err != nil {
			return nil, err
		}
	}
	f.flush()
	plane.load()
	var out []engine.Verdict
	for _, p := range c.Probes {
		out = append(out, f.verdict(plane, p))
	}
	return out, nil
}

// felix is the agent of one node that all pods are on: the calculation graph,
// and what that last sent to the dataplane.
type felix struct {
	sequencer *calc.EventSequencer
	graph     *calc.CalcGraph
	filter    *calc.ValidationFilter

	policies  map[proto.PolicyID]*proto.Policy
	profiles  map[proto.ProfileID]*proto.Profile
	endpoints map[string]*proto.WorkloadEndpoint // by namespace/name
	members   map[string][]string                // of IP sets
}

// dataplane is what enforces.
type dataplane interface {
	load()
	// allows says whether one end lets a new connection pass.
	allows(end end, c connection) (bool, error)
}

// end is a pod as the source or the destination of connections of a family.
type end struct {
	pod           string
	ingress, ipv6 bool
}

type connection struct {
	src, dst netip.Addr
	proto    uint8
	port     uint16
}

func newFelix() *felix {
	conf := config.New()
	conf.FelixHostname = node
	f := &felix{
		sequencer: calc.NewEventSequencer(conf),
		policies:  map[proto.PolicyID]*proto.Policy{},
		profiles:  map[proto.ProfileID]*proto.Profile{},
		endpoints: map[string]*proto.WorkloadEndpoint{},
		members:   map[string][]string{},
	}
	f.sequencer.Callback = f.receive
	f.graph = calc.NewCalculationGraph(f.sequencer, conf, func() {})
	f.filter = calc.NewValidationFilter(f.graph, conf)
	return f
}

// update sends an object to the graph, in the form that Felix' syncer gives it.
func (f *felix) update(p watchersyncer.SyncerUpdateProcessor, kv *model.KVPair, err error) error {
	if err != nil {
		return err
	}
	kvs, err := p.Process(kv)
	if err != nil {
		return err
	}
	for _, kv := range kvs {
		f.filter.OnUpdates([]api.Update{{KVPair: *kv, UpdateType: api.UpdateTypeKVNew}})
	}
	return nil
}

func (f *felix) flush() {
	f.filter.OnStatusUpdated(api.InSync)
	f.graph.Flush()
	f.sequencer.Flush()
}

func (f *felix) receive(message any) {
	switch m := message.(type) {
	case *proto.ActivePolicyUpdate:
		f.policies[*m.Id] = m.Policy
	case *proto.ActiveProfileUpdate:
		f.profiles[*m.Id] = m.Profile
	case *proto.WorkloadEndpointUpdate:
		f.endpoints[m.Id.WorkloadId] = m.Endpoint
	case *proto.IPSetUpdate:
		f.members[m.Id] = append(f.members[m.Id], m.Members...)
	case *proto.IPSetDeltaUpdate:
		f.members[m.Id] = append(f.members[m.Id], m.AddedMembers...)
	}
}

func (f *felix) verdict(plane dataplane, p engine.Probe) engine.Verdict {
	numbers := map[string]uint8{"TCP": 6, "UDP": 17, "SCTP": 132}
	c := connection{
		src: netip.MustParseAddr(p.SrcIP), dst: netip.MustParseAddr(p.DstIP),
		proto: numbers[p.Proto], port: uint16(p.Port),
	}
	ask := func(pod string, ingress bool) (bool, error) {
		if pod == engine.External {
			return true, nil
		}
		if f.endpoints[pod] == nil {
			return false, fmt.Errorf("pod without an endpoint")
		}
		return plane.allows(end{pod, ingress, c.dst.Is6()}, c)
	}
	egress, err := ask(p.Src, false)
	if err != nil {
		return engine.Verdict{Why: err.Error()}
	}
	ingress, err := ask(p.Dst, true)
	if err != nil {
		return engine.Verdict{Why: err.Error()}
	}
	return engine.Verdict{Egress: egress, Ingress: ingress}
}
