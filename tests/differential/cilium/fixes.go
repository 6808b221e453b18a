package main

import (
	"fmt"
	"hash/crc32"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/cilium/cilium/pkg/policy/types"
)

const (
	ipBlockPods   = "ipblock-pods"
	oneFamily     = "one-family"
	policyTypes   = "policytypes"
	negativePeer  = "negative-peer"
	baselineAllow = "baseline-accept"
	allLabels     = "identity-labels"
	portNames     = "port-names"
)

// The differences that a fix takes away:
//   ipBlockPods: ipBlock and networks do not match pods; the fix is policy-cidr-match-mode=pods
//   oneFamily: with that mode, a block of one family matches a dual-stack pod's other address
//   policyTypes: rules of a direction that policyTypes leaves out count
//   negativePeer: a namespace selector of negative terms only matches everything: in ClusterNetworkPolicy's namespaces peers; everywhere with -any-cluster
//   baselineAllow: ClusterNetworkPolicy: a Baseline Accept opens what a NetworkPolicy's isolation closes
//   allLabels: pod labels that are kept out of identities are in no selector's reach
//   portNames: a port name that a pod declares for two protocols stands for the last one only

// onlyDeclaredTypes drops the rules that policyTypes does not ask for.
func onlyDeclaredTypes(np *networkingv1.NetworkPolicy) {
	has := map[networkingv1.PolicyType]bool{}
	for _, t := range np.Spec.PolicyTypes {
		has[t] = true
	}
	if !has[networkingv1.PolicyTypeIngress] {
		np.Spec.Ingress = nil
	}
	if !has[networkingv1.PolicyTypeEgress] {
		np.Spec.Egress = nil
	}
}

// denyTheRest ends the tier of NetworkPolicy with a denial where it isolates.
func denyTheRest(rules types.PolicyEntries) types.PolicyEntries {
	for _, ingress := range []bool{true, false} {
		for _, r := range rules {
			if r.Ingress == ingress {
				last := *r
				last.Verdict, last.Priority, last.L3, last.L4 = types.Deny, r.Priority+1, types.WildcardSelectors, nil
				rules = append(rules, &last)
				break
			}
		}
	}
	return rules
}

// requireNames makes each peer's namespace selector ask for a label that every
// namespace has.
func requireNames(np *networkingv1.NetworkPolicy) {
	for _, r := range np.Spec.Ingress {
		for _, p := range r.From {
			requireName(p.NamespaceSelector)
		}
	}
	for _, r := range np.Spec.Egress {
		for _, p := range r.To {
			requireName(p.NamespaceSelector)
		}
	}
}

func requireClusterNames(cnp *policyv1alpha2.ClusterNetworkPolicy) {
	for _, r := range cnp.Spec.Ingress {
		for _, p := range r.From {
			requireName(p.Namespaces)
			if p.Pods != nil {
				requireName(&p.Pods.NamespaceSelector)
			}
		}
	}
	for _, r := range cnp.Spec.Egress {
		for _, p := range r.To {
			requireName(p.Namespaces)
			if p.Pods != nil {
				requireName(&p.Pods.NamespaceSelector)
			}
		}
	}
}

func requireName(s *metav1.LabelSelector) {
	if s != nil {
		s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpExists,
		})
	}
}

// renamePorts gives a port name per protocol, so that no pod has one twice.
func renamePorts(np *networkingv1.NetworkPolicy) {
	rename := func(ports []networkingv1.NetworkPolicyPort) {
		for i, p := range ports {
			if p.Port != nil && p.Port.StrVal != "" {
				ports[i].Port.StrVal = portName(p.Port.StrVal, *p.Protocol)
			}
		}
	}
	for _, r := range np.Spec.Ingress {
		rename(r.Ports)
	}
	for _, r := range np.Spec.Egress {
		rename(r.Ports)
	}
}

func renamePodPorts(pod *corev1.Pod) {
	for _, c := range pod.Spec.Containers {
		for i, p := range c.Ports {
			if p.Name != "" {
				c.Ports[i].Name = portName(p.Name, p.Protocol)
			}
		}
	}
}

// portName is short, as port names must be.
func portName(name string, protocol corev1.Protocol) string {
	return fmt.Sprintf("%s-%08x", strings.ToLower(string(protocol)), crc32.ChecksumIEEE([]byte(name)))
}
