// Package engine lets another project's policy engine judge connections: a case a line on standard
// input, as JSON, and the verdicts on its connections a line on standard output.
package engine

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// External is the name of the end of a connection that is an address outside the cluster.
const External = "external"

type Namespace struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

type Port struct {
	Name     string `json:"name"`
	Port     int32  `json:"port"`
	Protocol string `json:"protocol"`
}

type Pod struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	IPs       []string          `json:"ips"`
	Ports     []Port            `json:"ports"`
}

// Probe is a connection. Src and Dst are "namespace/name", or External.
type Probe struct {
	Src   string `json:"src"`
	SrcIP string `json:"srcIP"`
	Dst   string `json:"dst"`
	DstIP string `json:"dstIP"`
	Proto string `json:"proto"`
	Port  int    `json:"port"`
}

// Case is a cluster, its policies, and connections.
type Case struct {
	Namespaces []Namespace       `json:"namespaces"`
	Pods       []Pod             `json:"pods"`
	Policies   []json.RawMessage `json:"policies"`
	Probes     []Probe           `json:"probes"`
	// Set is how the engine is set; among it are fixes, which take known differences of the engine away,
	// by a setting of its own or by a change of the case.
	Set []string `json:"set"`
}

// Verdict is what each end of a connection says. Why is not empty where the engine cannot judge.
type Verdict struct {
	Egress  bool   `json:"egress"`
	Ingress bool   `json:"ingress"`
	Why     string `json:"why,omitempty"`
}

type answer struct {
	Verdicts []Verdict `json:"verdicts"`
	Error    string    `json:"error,omitempty"`
}

// Main answers cases until the input ends.
func Main(judge func(c *Case, set map[string]bool) ([]Verdict, error)) {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			if err := out.Encode(one(line, judge)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// one answers a case. A panic of the engine is an error, so that one odd case does not end the run.
func one(line []byte, judge func(c *Case, set map[string]bool) ([]Verdict, error)) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{Error: fmt.Sprintf("panic: %v", p)}
		}
	}()
	c := &Case{}
	if err := json.Unmarshal(line, c); err != nil {
		return answer{Error: err.Error()}
	}
	set := map[string]bool{}
	for _, name := range c.Set {
		set[name] = true
	}
	verdicts, err := judge(c, set)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Verdicts: verdicts}
}

// NetworkPolicies are the case's NetworkPolicies as an API server stores them: with defaults, and
// without empty lists. The rest are its cluster policies.
func (c *Case) NetworkPolicies() (nps []*networkingv1.NetworkPolicy, rest []json.RawMessage, err error) {
	for _, raw := range c.Policies {
		var head struct{ Kind string }
		if err := json.Unmarshal(raw, &head); err != nil {
			return nil, nil, err
		}
		if head.Kind != "NetworkPolicy" {
			rest = append(rest, raw)
			continue
		}
		np, err := stored(raw)
		if err != nil {
			return nil, nil, err
		}
		nps = append(nps, np)
	}
	return nps, rest, nil
}

func stored(raw json.RawMessage) (*networkingv1.NetworkPolicy, error) {
	np := &networkingv1.NetworkPolicy{}
	if err := json.Unmarshal(raw, np); err != nil {
		return nil, err
	}
	if len(np.Spec.PolicyTypes) == 0 {
		np.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(np.Spec.Egress) > 0 {
			np.Spec.PolicyTypes = append(np.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for _, r := range np.Spec.Ingress {
		defaultProtocol(r.Ports)
	}
	for _, r := range np.Spec.Egress {
		defaultProtocol(r.Ports)
	}
	out := &networkingv1.NetworkPolicy{}
	return out, Recode(np, out)
}

func defaultProtocol(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		if ports[i].Protocol == nil {
			tcp := corev1.ProtocolTCP
			ports[i].Protocol = &tcp
		}
	}
}

// Recode copies from one type to another by way of JSON.
func Recode(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// Cluster is the inventory as Kubernetes objects. As the API server sees to, each has a UID and a
// namespace has its name as a label.
func (c *Case) Cluster() (namespaces []*corev1.Namespace, pods []*corev1.Pod) {
	for i, n := range c.Namespaces {
		labels := map[string]string{corev1.LabelMetadataName: n.Name}
		for key, value := range n.Labels {
			labels[key] = value
		}
		namespaces = append(namespaces, &corev1.Namespace{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: labels, UID: uid(1, i)},
		})
	}
	for i, p := range c.Pods {
		pod := &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, UID: uid(2, i)},
			Spec:       corev1.PodSpec{NodeName: "node"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, HostIP: "198.18.0.1"},
		}
		for i, ip := range p.IPs {
			if i == 0 {
				pod.Status.PodIP = ip
			}
			pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
		}
		main := corev1.Container{Name: "main"}
		for _, port := range p.Ports {
			main.Ports = append(main.Ports, corev1.ContainerPort{
				Name: port.Name, ContainerPort: port.Port, Protocol: corev1.Protocol(port.Protocol),
			})
		}
		pod.Spec.Containers = []corev1.Container{main}
		pods = append(pods, pod)
	}
	return namespaces, pods
}

func uid(kind, i int) types.UID {
	return types.UID(fmt.Sprintf("00000000-0000-4000-8000-%06d%06d", kind, i))
}
