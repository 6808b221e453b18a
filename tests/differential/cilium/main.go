// Command cilium judges connections with Cilium's own policy engine: its
// parsers, its identities, its ipcache, and the lookup that mirrors its
// datapath's.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"

	cmtypes "github.com/cilium/cilium/pkg/clustermesh/types"
	"github.com/cilium/cilium/pkg/endpoint/regeneration"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/ipcache"
	ipcachetypes "github.com/cilium/cilium/pkg/ipcache/types"
	"github.com/cilium/cilium/pkg/k8s"
	slimcorev1 "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/core/v1"
	slimnetworkingv1 "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/networking/v1"
	"github.com/cilium/cilium/pkg/k8s/synced"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/labelsfilter"
	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/source"
	testpolicy "github.com/cilium/cilium/pkg/testutils/policy"
	ciliumtypes "github.com/cilium/cilium/pkg/types"
	"github.com/cilium/cilium/pkg/u8proto"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"npc.example/differential/engine"
)

const clusterName = "default"

// anyCluster is set for policyDefaultLocalCluster: false.
const anyCluster = "any-cluster"

var logger = slog.New(slog.DiscardHandler)

func main() {
	option.Config.EnableIPv4 = true
	option.Config.EnableIPv6 = true
	option.Config.ClusterName = clusterName
	policy.SetPolicyEnabled(option.DefaultEnforcement)
	if err := labelsfilter.ParseLabelPrefixCfg(logger, nil, nil, ""); err != nil {
		panic(err)
	}
	engine.Main(judgeCase)
}

func judgeCase(c *engine.Case, fix map[string]bool) ([]engine.Verdict, error) {
	option.Config.PolicyCIDRMatchMode = nil
	if fix[ipBlockPods] {
		option.Config.PolicyCIDRMatchMode = []string{"pods"}
	}
	entries, err := parse(c, fix)
	if err != nil {
		return nil, err
	}
	if !fix[oneFamily] {
		return judgeAddresses(c, entries, fix, func(netip.Addr) bool { return true })
	}
	v4, err := judgeAddresses(c, entries, fix, netip.Addr.Is4)
	if err != nil {
		return nil, err
	}
	v6, err := judgeAddresses(c, entries, fix, netip.Addr.Is6)
	if err != nil {
		return nil, err
	}
	for i, p := range c.Probes {
		if netip.MustParseAddr(p.DstIP).Is4() {
			v6[i] = v4[i]
		}
	}
	return v6, nil
}

// judgeAddresses sees only those addresses of the pods that use says yes to.
func judgeAddresses(c *engine.Case, entries policies, fix map[string]bool, use func(netip.Addr) bool) ([]engine.Verdict, error) {
	cl := newCluster(entries)
	defer cl.close()
	if err := cl.addPods(c, fix, use); err != nil {
		return nil, err
	}
	for _, p := range c.Probes {
		cl.addExternal(p.Src, p.SrcIP)
		cl.addExternal(p.Dst, p.DstIP)
	}
	if err := cl.enforce(entries); err != nil {
		return nil, err
	}
	var out []engine.Verdict
	for _, p := range c.Probes {
		out = append(out, cl.verdict(p))
	}
	return out, nil
}

type policies map[ipcachetypes.ResourceID]types.PolicyEntries

// parse reads the policies as Cilium's watchers do, by resource.
func parse(c *engine.Case, fix map[string]bool) (policies, error) {
	out := policies{}
	peersIn := clusterName
	if fix[anyCluster] {
		peersIn = cmtypes.PolicyAnyCluster
	}
	nps, rest, err := c.NetworkPolicies()
	if err != nil {
		return nil, err
	}
	for _, np := range nps {
		if fix[policyTypes] {
			onlyDeclaredTypes(np)
		}
		if fix[portNames] {
			renamePorts(np)
		}
		if fix[negativePeer] {
			requireNames(np)
		}
		slim := &slimnetworkingv1.NetworkPolicy{}
		if err := engine.Recode(np, slim); err != nil {
			return nil, err
		}
		rules, err := k8s.ParseNetworkPolicy(logger, peersIn, slim)
		if err != nil {
			return nil, err
		}
		if fix[baselineAllow] {
			rules = denyTheRest(rules)
		}
		out[ipcachetypes.NewResourceID(ipcachetypes.ResourceKindNetpol, np.Namespace, np.Name)] = rules
	}
	for _, raw := range rest {
		cnp := &policyv1alpha2.ClusterNetworkPolicy{}
		if err := json.Unmarshal(raw, cnp); err != nil {
			return nil, err
		}
		if fix[negativePeer] {
			requireClusterNames(cnp)
		}
		rules, err := k8s.ParseClusterNetworkPolicy(logger, peersIn, cnp)
		if err != nil {
			return nil, err
		}
		out[ipcachetypes.NewResourceID(ipcachetypes.ResourceKindKCNP, "", cnp.Name)] = rules
	}
	return out, nil
}

// cluster is what an agent knows: who has which identity, and, for each pod,
// the policy map that its datapath would look connections up in.
type cluster struct {
	ipcache    *ipcache.IPCache
	stop       context.CancelFunc
	identities map[string]*identity.Identity // by labels
	known      identity.IdentityMap
	namedPorts namedPorts
	pods       map[string]*endpoint          // by namespace/name
	external   map[string]*identity.Identity // by address
}

func newCluster(entries policies) *cluster {
	ctx, stop := context.WithCancel(context.Background())
	cl := &cluster{
		stop:       stop,
		identities: map[string]*identity.Identity{},
		known:      identity.ListReservedIdentities(),
		namedPorts: namedPorts{ciliumtypes.NewNamedPortMultiMap()},
		pods:       map[string]*endpoint{},
		external:   map[string]*identity.Identity{},
		ipcache: ipcache.NewIPCache(&ipcache.Configuration{
			Context: ctx, Logger: logger,
			CacheStatus: make(synced.CacheStatus), // never synchronized: labels are read here, not injected
		}),
	}
	for resource, rules := range entries {
		for _, prefix := range policy.GetCIDRPrefixes(rules) {
			cl.ipcache.UpsertMetadata(cmtypes.NewLocalPrefixCluster(prefix), source.Kubernetes, resource, labels.GetCIDRLabels(prefix))
		}
	}
	return cl
}

func (cl *cluster) close() {
	cl.stop()
	cl.ipcache.Shutdown()
}

// identity is the same for the same labels.
func (cl *cluster) identity(lbls labels.Labels) *identity.Identity {
	if id := identity.LookupReservedIdentityByLabels(lbls); id != nil {
		return id
	}
	key := string(lbls.SortedList())
	if id := cl.identities[key]; id != nil {
		return id
	}
	n := identity.NumericIdentity(1000+len(cl.identities)) | identity.ScopeForLabels(lbls)
	id := identity.NewIdentity(n, lbls)
	cl.identities[key] = id
	cl.known[n] = id.LabelArray
	return id
}

func (cl *cluster) addPods(c *engine.Case, fix map[string]bool, use func(netip.Addr) bool) error {
	namespaces, pods := c.Cluster()
	labelled := map[string]*slimcorev1.Namespace{}
	for _, ns := range namespaces {
		slim := &slimcorev1.Namespace{}
		if err := engine.Recode(ns, slim); err != nil {
			return err
		}
		labelled[ns.Name] = slim
	}
	for _, pod := range pods {
		if fix[portNames] {
			renamePodPorts(pod)
		}
		slim := &slimcorev1.Pod{}
		if err := engine.Recode(pod, slim); err != nil {
			return err
		}
		if labelled[pod.Namespace] == nil {
			return fmt.Errorf("pod %s/%s: no such namespace", pod.Namespace, pod.Name)
		}
		ports, k8sLabels := k8s.GetPodMetadata(logger, labelled[pod.Namespace], slim)
		lbls := labels.Map2Labels(k8sLabels, labels.LabelSourceK8s)
		if !fix[allLabels] {
			lbls, _ = labelsfilter.Filter(lbls)
		}
		for _, l := range k8s.NamedPortsIdentityLabels(ports) {
			lbls[l.Key] = l
		}
		for _, ip := range pod.Status.PodIPs {
			if addr := netip.MustParseAddr(ip.IP); use(addr) {
				cl.addCIDRLabels(lbls, addr)
			}
		}
		id := cl.identity(lbls)
		cl.namedPorts.Update(id.ID, nil, ports)
		cl.pods[pod.Namespace+"/"+pod.Name] = &endpoint{id: id, ports: ports}
	}
	return nil
}

// addCIDRLabels does what an endpoint does when CIDRs are to match pods.
func (cl *cluster) addCIDRLabels(lbls labels.Labels, ip netip.Addr) {
	if !option.Config.PolicyCIDRMatchesPods() {
		return
	}
	found := false
	for _, l := range cl.ipcache.GetMetadataLabels(ip) {
		if l.Source == labels.LabelSourceCIDR {
			lbls[l.GetExtendedKey()] = l
			found = true
		}
	}
	if !found {
		all := netip.PrefixFrom(ip, 0).Masked()
		l := labels.ParseLabel("cidr:" + all.String())
		lbls[l.GetExtendedKey()] = l
	}
}

// addExternal gives an address outside of the cluster the identity of the
// prefixes that policies name.
func (cl *cluster) addExternal(name, ip string) {
	if name != engine.External || cl.external[ip] != nil {
		return
	}
	addr := netip.MustParseAddr(ip)
	lbls := cl.ipcache.GetMetadataLabels(addr)
	lbls.AddWorldLabel(addr)
	cl.external[ip] = cl.identity(lbls)
}

func (cl *cluster) enforce(entries policies) error {
	repo := policy.NewPolicyRepository(logger, cl.known, nil, nil, nil, testpolicy.NewPolicyMetricsNoop())
	repo.SetNamedPortsGetter(cl.namedPorts)
	repo.UpdateIdentities(cl.known, nil)
	for resource, rules := range entries {
		repo.ReplaceByResource(rules, resource)
	}
	for _, ep := range cl.pods {
		resolved, _, err := repo.ComputeSelectorPolicy(ep.id)
		if err != nil {
			return err
		}
		ep.policy = resolved.DistillPolicy(logger, ep, nil)
		ep.policy.Ready()
		ep.policy.Detach(logger)
		resolved.Supersede()
	}
	return nil
}

func (cl *cluster) verdict(p engine.Probe) engine.Verdict {
	proto, err := u8proto.ParseProtocol(p.Proto)
	if err != nil {
		return engine.Verdict{Why: err.Error()}
	}
	src, dst := cl.end(p.Src, p.SrcIP), cl.end(p.Dst, p.DstIP)
	if src == nil || dst == nil {
		return engine.Verdict{Why: "pod not in the inventory"}
	}
	lookup := func(ep *endpoint, key policy.Key, peer *endpoint) bool {
		if ep.policy == nil {
			return true // not a pod: nothing enforces policy there
		}
		entry, _, _ := ep.policy.Lookup(key.WithIdentity(peer.id.ID).WithPortProto(proto, uint16(p.Port)))
		return !entry.IsDeny()
	}
	return engine.Verdict{
		Egress:  lookup(src, policy.EgressKey(), dst),
		Ingress: lookup(dst, policy.IngressKey(), src),
	}
}

func (cl *cluster) end(name, ip string) *endpoint {
	if name == engine.External {
		return &endpoint{id: cl.external[ip]}
	}
	return cl.pods[name]
}

type namedPorts struct {
	updatable
}

type updatable interface {
	ciliumtypes.NamedPortMultiMap
	Update(id identity.NumericIdentity, old, new ciliumtypes.NamedPortMap) bool
}

func (n namedPorts) GetNamedPorts() ciliumtypes.NamedPortMultiMap { return n.updatable }

// endpoint owns a policy, as Cilium's endpoints do.
type endpoint struct {
	id     *identity.Identity
	ports  ciliumtypes.NamedPortMap
	policy *policy.EndpointPolicy
}

func (e *endpoint) GetID() uint64              { return uint64(e.id.ID) }
func (e *endpoint) IsHost() bool               { return false }
func (e *endpoint) PolicyDebug(string, ...any) {}
func (e *endpoint) PreviousMapStateSizes() policy.MapStateSizes {
	return policy.MapStateSizes{}
}
func (e *endpoint) GetIngressNamedPort(name string, proto u8proto.U8proto) uint16 {
	port, _ := e.ports.GetNamedPort(name, proto)
	return port
}
func (e *endpoint) RegenerateIfAlive(*regeneration.ExternalRegenerationMetadata) <-chan bool {
	done := make(chan bool)
	close(done)
	return done
}
