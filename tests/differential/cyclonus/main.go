// Command cyclonus judges connections with the matcher of cyclonus, the tool that Kubernetes' network
// group tests NetworkPolicy with.
package main

import (
	"fmt"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"npc.example/differential/engine"
)

func main() { engine.Main(judge) }

func judge(c *engine.Case, set map[string]bool) ([]engine.Verdict, error) {
	nps, rest, err := c.NetworkPolicies()
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("cyclonus has no cluster policies")
	}
	var rewritten []*networkingv1.NetworkPolicy
	for _, np := range nps {
		rewritten = append(rewritten, rewrite(np, set)...)
	}
	policy := matcher.BuildNetworkPolicies(true, rewritten)
	namespaces, pods := c.Cluster()
	labels := map[string]map[string]string{}
	for _, namespace := range namespaces {
		labels[namespace.Name] = namespace.Labels
	}
	named := map[string]*corev1.Pod{}
	for _, pod := range pods {
		named[pod.Namespace+"/"+pod.Name] = pod
	}
	peer := func(name, ip string) *matcher.TrafficPeer {
		pod := named[name]
		if pod == nil {
			return &matcher.TrafficPeer{IP: ip}
		}
		return &matcher.TrafficPeer{IP: ip, Internal: &matcher.InternalPeer{
			PodLabels: pod.Labels, NamespaceLabels: labels[pod.Namespace], Namespace: pod.Namespace,
		}}
	}
	var verdicts []engine.Verdict
	for _, probe := range c.Probes {
		// It takes one name for a port; a pod may have several.
		names := []string{""}
		if pod := named[probe.Dst]; pod != nil {
			for _, port := range pod.Spec.Containers[0].Ports {
				if int(port.ContainerPort) == probe.Port && string(port.Protocol) == probe.Proto {
					names = append(names, port.Name)
				}
			}
		}
		verdict := engine.Verdict{}
		for _, name := range names {
			result := policy.IsTrafficAllowed(&matcher.Traffic{
				Source:           peer(probe.Src, probe.SrcIP),
				Destination:      peer(probe.Dst, probe.DstIP),
				ResolvedPort:     probe.Port,
				ResolvedPortName: name,
				Protocol:         corev1.Protocol(probe.Proto),
			})
			verdict.Egress = verdict.Egress || result.Egress.IsAllowed()
			verdict.Ingress = verdict.Ingress || result.Ingress.IsAllowed()
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}
