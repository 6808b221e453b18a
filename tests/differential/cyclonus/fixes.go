package main

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Known differences, each with a fix that says the same in words that are read as Kubernetes reads them.
const (
	// An object without the key is not matched by NotIn.
	notIn = "notin-without-key"
	// An object without the key is matched by matchLabels with an empty value.
	emptyValue = "empty-value"
)

// rewrite gives the policies that say the same as one.
func rewrite(np *networkingv1.NetworkPolicy, set map[string]bool) []*networkingv1.NetworkPolicy {
	for i := range np.Spec.Ingress {
		np.Spec.Ingress[i].From = peers(np.Spec.Ingress[i].From, set)
	}
	for i := range np.Spec.Egress {
		np.Spec.Egress[i].To = peers(np.Spec.Egress[i].To, set)
	}
	var out []*networkingv1.NetworkPolicy
	for _, selector := range selectors(np.Spec.PodSelector, set) {
		copied := np.DeepCopy()
		copied.Spec.PodSelector = selector
		out = append(out, copied)
	}
	return out
}

func peers(in []networkingv1.NetworkPolicyPeer, set map[string]bool) []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for _, peer := range in {
		if peer.IPBlock != nil {
			out = append(out, peer)
			continue
		}
		for _, pods := range optional(peer.PodSelector, set) {
			for _, namespaces := range optional(peer.NamespaceSelector, set) {
				out = append(out, networkingv1.NetworkPolicyPeer{PodSelector: pods, NamespaceSelector: namespaces})
			}
		}
	}
	return out
}

func optional(selector *metav1.LabelSelector, set map[string]bool) []*metav1.LabelSelector {
	if selector == nil {
		return []*metav1.LabelSelector{nil}
	}
	var out []*metav1.LabelSelector
	for _, one := range selectors(*selector, set) {
		out = append(out, &one)
	}
	return out
}

// selectors gives selectors of which one or another matches where the one given does.
func selectors(selector metav1.LabelSelector, set map[string]bool) []metav1.LabelSelector {
	plain := metav1.LabelSelector{MatchLabels: map[string]string{}}
	for key, value := range selector.MatchLabels {
		if value == "" && set[emptyValue] {
			plain.MatchExpressions = append(plain.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{""},
			})
			continue
		}
		plain.MatchLabels[key] = value
	}
	out := []metav1.LabelSelector{plain}
	for _, expression := range selector.MatchExpressions {
		ways := []metav1.LabelSelectorRequirement{expression}
		if expression.Operator == metav1.LabelSelectorOpNotIn && set[notIn] {
			ways = append(ways, metav1.LabelSelectorRequirement{
				Key: expression.Key, Operator: metav1.LabelSelectorOpDoesNotExist,
			})
		}
		var next []metav1.LabelSelector
		for _, before := range out {
			for _, way := range ways {
				after := *before.DeepCopy()
				after.MatchExpressions = append(after.MatchExpressions, way)
				next = append(next, after)
			}
		}
		out = next
	}
	return out
}
