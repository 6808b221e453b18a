//! Tests npc-node on a real node (kubelet, containerd, kube-proxy), installed with its chart: the policies of
//! the tour on real pods, and new pods that must never be open.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[cfg(not(target_os = "linux"))]
fn main() {
    npc_tests::settings::skip("real node", "the kernel is not Linux");
}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use npc_cluster::Cluster;
    use npc_targets::AnyTarget;
    use npc_tests::live::{kubectl, try_kubectl};
    use npc_tests::memory::Memory;
    use npc_tests::net::{Pushed, ip, is_in_own_network, python};
    use npc_vocabulary::Protocol;
    use npc_vocabulary::{Connection, Traffic};

    /// Resolves the node's name to this machine.
    const OWN: &str = "mkdir -p /run/netns && { cat /etc/hosts; echo 127.0.0.1 node-1; } > /run/hosts && \
                       mount --bind /run/hosts /etc/hosts";

    const PORTS: [u16; 4] = [5432, 9187, 80, 22];

    /// Connects to all given addresses and ports at once, and prints those that answer. A refused connection
    /// is an answer too.
    const TRY: &str = r"
import selectors, socket, sys, time
waiting = selectors.DefaultSelector()
for word in sys.argv[1:]:
    host, port = word.rsplit(':', 1)
    s = socket.socket(); s.setblocking(False)
    s.connect_ex((host, int(port)))
    waiting.register(s, selectors.EVENT_WRITE, word)
end = time.monotonic() + 1.2
while waiting.get_map() and time.monotonic() < end:
    for key, _ in waiting.select(end - time.monotonic()):
        error = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error in (0, 111): print(key.data)
        waiting.unregister(key.fileobj); key.fileobj.close()
";

    /// Accepts connections from the cluster at an outside address, and prints their sources.
    const COLLECT: &str = r"
import socket
s = socket.create_server(('192.0.2.99', 5000), backlog=100)
print('ready', flush=True)
while True:
    c, who = s.accept(); print(who[0], flush=True); c.close()
";

    pub(super) fn main() {
        let Some(tools) = npc_tests::tools::tools("real node", "Kubernetes and Helm") else { return };
        let state = tempfile::Builder::new().prefix("npc-real-node").tempdir().unwrap();
        let in_own = is_in_own_network(OWN, |command| {
            command
                .env("NPC_TEST_STATE", state.path())
                .env("KUBECONFIG", state.path().join("kubeconfig"))
                .env("NPC_NODE_BINARIES", Path::new(env!("CARGO_BIN_EXE_npc-node")).parent().unwrap())
                .env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
        });
        if !in_own {
            return;
        }
        let node = Node::start();
        let open = before();
        node.install();
        open.goes_on("real node");
        kubectl(&["delete", "pod", "-n", "shop", "early"], "");
        kubectl(&["delete", "pod", "-n", "payments", "early"], "");
        let pods = node.pods();
        verdicts(&pods, "when all is new");
        services(&pods);
        never_open();
        without_daemon(&pods);
        node.without_api_server(&pods);
        node.uninstall();
    }

    /// A connection between two pods that exist before npc-node. It continues only if the daemon learns of
    /// it, with no more privileges than the chart grants.
    fn before() -> Pushed {
        let pod = |namespace: &str, labels: &str| {
            format!(
                "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n\
                 ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: early, namespace: {namespace}, labels: {labels}}}\n\
                 spec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: main\n    image: npc.test/agnhost:1\n    \
                 imagePullPolicy: Never\n    args: [netexec, --http-port=8000, --udp-port=-1]\n"
            )
        };
        let objects = pod("shop", "{app: checkout}") + &pod("payments", "{app: postgres, tier: db}");
        until("the first pods can be made", || try_kubectl(&["apply", "-f", "-"], &objects).is_ok());
        until("the first pods are ready", || {
            try_kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "-A", "--timeout=1s"], "").is_ok()
        });
        let (cluster, networks) = (cluster(), networks());
        let server = address(&cluster, "payments", "early");
        let client = &networks[&address(&cluster, "shop", "early")];
        Pushed::open(&networks[&server], &server, 5432, client)
    }

    struct Node {
        state: PathBuf,
    }

    fn script() -> PathBuf {
        npc_tests::root().join("tests/cluster/node.sh")
    }

    impl Drop for Node {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let shown = [
                    vec!["get", "pods", "-A", "-o", "wide"],
                    vec!["-n", "npc-system", "describe", "pods"],
                    vec!["-n", "npc-system", "logs", "daemonset/npc-node", "--tail", "50"],
                ];
                for words in shown {
                    println!("{}", try_kubectl(&words, "").unwrap_or_else(|why| why));
                }
            }
            let _ = Command::new(script()).arg("stop").status();
        }
    }

    /// Waits until a condition holds. The limit is long, because the kubelet too backs off while the API
    /// server is down.
    fn until(what: &str, is: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is() {
            assert!(begin.elapsed() < Duration::from_secs(240), "{what}: not within four minutes");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    impl Node {
        fn start() -> Self {
            let begin = Instant::now();
            let state = PathBuf::from(std::env::var_os("NPC_TEST_STATE").unwrap());
            let node = Self { state };
            let started = Command::new(script()).stdout(Stdio::null()).status().unwrap();
            assert!(started.success());
            println!("real node: Kubernetes with a node of its own, after {} s", begin.elapsed().as_secs());
            node
        }

        /// Installs npc-node as docs/node.md describes.
        fn install(&self) {
            let image = npc_tests::memory::compiled(&tour(), AnyTarget::EBPF, None).unwrap().image;
            let file = self.state.join("policies.npmap");
            fs::write(&file, image).unwrap();
            kubectl(&["create", "namespace", "npc-system"], "");
            let from = format!("--from-file={}", file.display());
            kubectl(&["-n", "npc-system", "create", "configmap", "npc-policies", &from], "");
            let settings = format!(
                "image.repository=npc.test/npc-node,image.tag=1,image.pullPolicy=Never,services={{10.96.0.0/16}},\
                 cgroup=/run/cgroup,cni.install=true,cni.bin={0}/plugins,cni.conf={0}/cni,logFormat=text",
                self.state.display()
            );
            let chart = npc_tests::root().join("deploy/helm/npc-node");
            let made = Command::new("helm")
                .args(["template", "npc-node", chart.to_str().unwrap(), "-n", "npc-system"])
                .args(["--kube-version", "1.35.0", "--set", &settings])
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            kubectl(&["apply", "-f", "-"], &String::from_utf8(made.stdout).unwrap());
            kubectl(&["-n", "npc-system", "rollout", "status", "daemonset/npc-node", "--timeout=90s"], "");
            let list = self.state.join("cni/10-pods.conflist");
            let is_chained = || fs::read_to_string(&list).unwrap().contains("npc-cni");
            until("the plugin is in the chain", is_chained);
            // The CNI network is upgraded and rewrites its configuration.
            let mut anew: serde_json::Value = serde_json::from_slice(&fs::read(&list).unwrap()).unwrap();
            anew["plugins"].as_array_mut().unwrap().retain(|plugin| plugin["type"] != "npc-cni");
            fs::write(&list, anew.to_string()).unwrap();
            until("the plugin is in the chain again", is_chained);
            println!(
                "real node: npc-node runs as its chart says, with the capabilities BPF, NET_ADMIN and PERFMON"
            );
        }

        /// Creates the pods of the tour, and more.
        fn pods(&self) -> Cluster {
            let mut objects = String::new();
            let namespaces = [
                ("shop", "{}"),
                ("payments", "{}"),
                ("red-a", "{tenant: red}"),
                ("red-b", "{tenant: red}"),
                ("blue", "{tenant: blue}"),
            ];
            for (name, labels) in namespaces {
                objects += &format!(
                    "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n"
                );
            }
            let all = [
                ("shop", "checkout", "{app: checkout}"),
                ("shop", "other", "{app: other}"),
                ("payments", "postgres", "{app: postgres, tier: db}"),
                ("payments", "old", "{app: postgres, tier: db, legacy: yes-it-is}"),
                ("red-a", "web", "{app: web}"),
                ("red-b", "web", "{app: web}"),
                ("blue", "web", "{app: web}"),
                ("kube-system", "dns", "{k8s-app: kube-dns}"),
            ];
            for (namespace, name, labels) in all {
                // The kubelet's probe reaches a pod whatever the policies say.
                objects += &format!(
                    "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {labels}}}\n\
                     spec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - name: main\n    image: npc.test/agnhost:1\n    imagePullPolicy: Never\n    \
                     args: [netexec, --http-port=5432, --udp-port=-1]\n    readinessProbe: {{tcpSocket: {{port: 5432}}, periodSeconds: 1}}\n  \
                     - name: metrics\n    image: npc.test/agnhost:1\n    imagePullPolicy: Never\n    args: [netexec, --http-port=9187, --udp-port=-1]\n    \
                     ports: [{{name: metrics, containerPort: 9187}}]\n"
                );
            }
            objects += "---\napiVersion: v1\nkind: Service\nmetadata: {name: postgres, namespace: payments}\n\
                        spec: {clusterIP: 10.96.0.77, selector: {legacy: yes-it-is}, ports: [{port: 5432}]}\n\
                        ---\napiVersion: v1\nkind: Service\nmetadata: {name: database, namespace: payments}\n\
                        spec: {clusterIP: 10.96.0.78, selector: {tier: db, app: postgres}, ports: [{port: 80, targetPort: 5432}]}\n\
                        ---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: red-b}\n\
                        spec: {clusterIP: 10.96.0.79, selector: {app: web}, ports: [{port: 80, targetPort: 5432}]}\n";
            // Service accounts are created after their namespace.
            until("the pods can be made", || try_kubectl(&["apply", "-f", "-"], &objects).is_ok());
            until("the pods are ready", || {
                try_kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "-A", "--timeout=1s"], "")
                    .is_ok()
            });
            cluster()
        }

        /// The API server stops and starts again.
        fn without_api_server(&self, pods: &Cluster) {
            let call =
                |word: &str| assert!(Command::new(script()).arg(word).status().unwrap().success(), "{word}");
            call("stop-api");
            until("the daemon says that it cannot read the pods", || source_error().is_some());
            verdicts(pods, "without an API server");
            call("start-api");
            let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: late, namespace: blue, labels: {app: late}}\n\
                       spec:\n  containers:\n  - {name: main, image: 'npc.test/agnhost:1', imagePullPolicy: Never, args: [netexec, --http-port=5432, --udp-port=-1]}\n";
            until("a pod can be made", || try_kubectl(&["apply", "-f", "-"], pod).is_ok());
            until("it is ready", || {
                try_kubectl(&["-n", "blue", "wait", "--for=condition=Ready", "pod/late", "--timeout=1s"], "")
                    .is_ok()
            });
            // Until the daemon knows the pod, none of its packets pass.
            until("the daemon knows it", || reaches(&cluster(), "blue", "late", &[("blue", "web", 5432)])[0]);
            verdicts(&cluster(), "with the API server back, and a pod that is new since");
            until("the daemon says that it can read them again", || source_error().is_none());
            assert!(self.state.exists());
        }

        /// Uninstalls npc-node.
        fn uninstall(&self) {
            let pods = "-l=app.kubernetes.io/name=npc-node";
            let name = kubectl(
                &["-n", "npc-system", "get", "pods", pods, "-o", "jsonpath={.items[0].metadata.name}"],
                "",
            );
            let exec = |words: &[&str]| {
                kubectl(&[&["-n", "npc-system", "exec", &name, "--", "/npc-node"], words].concat(), "")
            };
            let status = exec(&["status"]);
            assert!(status.contains("payments/postgres"), "{status}");
            println!("real node: npc-node status says\n{status}");
            kubectl(&["-n", "npc-system", "delete", "daemonset", "npc-node"], "");
            until("the pod is gone", || {
                kubectl(&["-n", "npc-system", "get", "pods", pods, "-o", "name"], "").is_empty()
            });
            assert!(
                !reaches(&cluster(), "blue", "web", &[("red-a", "web", 5432)])[0],
                "what is in force stays"
            );
            let bin = env!("CARGO_BIN_EXE_npc-node");
            let undo = Command::new(bin).arg("detach").status().unwrap();
            assert!(undo.success());
            let conf = self.state.join("cni");
            let plugins = self.state.join("plugins");
            let undo = Command::new(bin)
                .args([
                    "install-cni",
                    "--remove",
                    "--conf",
                    conf.to_str().unwrap(),
                    "--bin",
                    plugins.to_str().unwrap(),
                ])
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(undo.success());
            assert!(
                reaches(&cluster(), "blue", "web", &[("red-a", "web", 5432)])[0],
                "nothing is enforced any more"
            );
            println!("real node: without the DaemonSet all stayed in force; `detach` undid it");
        }
    }

    /// The daemon's error about the source of its pods, if any.
    fn source_error() -> Option<String> {
        let bin = env!("CARGO_BIN_EXE_npc-node");
        let output = Command::new(bin).args(["status", "--format", "json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        status["source"]["error"].as_str().map(str::to_owned)
    }

    fn cluster() -> Cluster {
        Cluster::parse(&kubectl(&["get", "namespaces,pods", "-A", "-o", "json"], "")).unwrap()
    }

    /// The network namespaces of pods, by address.
    fn networks() -> BTreeMap<String, String> {
        let mut networks = BTreeMap::new();
        for entry in fs::read_dir("/run/netns").unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let shown =
                Command::new("ip").args(["-n", &name, "-o", "-4", "addr", "show", "eth0"]).output().unwrap();
            let text = String::from_utf8(shown.stdout).unwrap();
            if let Some(address) = text.split_whitespace().nth(3).and_then(|text| text.split('/').next()) {
                networks.insert(address.to_owned(), name);
            }
        }
        networks
    }

    fn tried(network: &str, targets: &[String]) -> Vec<bool> {
        let words: Vec<&str> = targets.iter().map(String::as_str).collect();
        let output = python(network, TRY, &words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answered = String::from_utf8(output.stdout).unwrap();
        targets.iter().map(|target| answered.lines().any(|line| line == target)).collect()
    }

    fn address(cluster: &Cluster, namespace: &str, name: &str) -> String {
        cluster.pods[cluster.pod(namespace, name).unwrap()].addresses[0].to_string()
    }

    fn reaches(cluster: &Cluster, namespace: &str, name: &str, to: &[(&str, &str, u16)]) -> Vec<bool> {
        let network = &networks()[&address(cluster, namespace, name)];
        let targets: Vec<String> = to
            .iter()
            .map(|(namespace, name, port)| format!("{}:{port}", address(cluster, namespace, name)))
            .collect();
        tried(network, &targets)
    }

    /// Every pod connects to every other one on several ports. The answers must equal the interpreter's
    /// verdicts.
    fn verdicts(cluster: &Cluster, when: &str) {
        let checked = tour().check(None);
        assert!(!checked.report.has_errors());
        let networks = networks();
        let (mut asked, mut answered) = (0, 0);
        let own: Vec<usize> =
            (0..cluster.pods.len()).filter(|place| !cluster.pods[*place].host_network).collect();
        for from in &own {
            let source = &cluster.pods[*from];
            let others: Vec<(usize, u16)> =
                own.iter().filter(|to| *to != from).flat_map(|to| PORTS.map(|port| (*to, port))).collect();
            let targets: Vec<String> = others
                .iter()
                .map(|(to, port)| format!("{}:{port}", cluster.pods[*to].addresses[0]))
                .collect();
            let found = tried(&networks[&source.addresses[0].to_string()], &targets);
            for ((to, port), found) in others.iter().zip(found) {
                let connection = Connection::direct(
                    cluster.endpoint(*from, None).unwrap(),
                    cluster.endpoint(*to, None).unwrap(),
                    Traffic::Port(Protocol::Tcp, *port),
                );
                let expected = npc_model::verdict(&checked.program, &connection).allowed();
                assert_eq!(
                    found, expected,
                    "{when}: {} -> {}:{port}",
                    connection.source, connection.destination
                );
                asked += 1;
                answered += u32::from(found);
            }
        }
        assert!(answered > 0 && answered < asked);
        println!(
            "real node: {when}: {asked} connections of {} pods, {answered} arrived, 0 otherwise than the interpreter says",
            own.len()
        );
    }

    /// The tour. `check` uses the first file in alphabetical order, so the program is named before the file
    /// that it imports.
    fn tour() -> Memory {
        let folder = npc_tests::root().join("examples/tour");
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        Memory::new([("main.np".to_owned(), read("tour.np")), ("sets.np".to_owned(), read("sets.np"))])
    }

    /// Services, translated by kube-proxy.
    fn services(cluster: &Cluster) {
        let networks = networks();
        let of = |namespace: &str, name: &str| networks[&address(cluster, namespace, name)].clone();
        let cases = [
            (of("shop", "checkout"), "10.96.0.77:5432", true, "no policy is for the old database"),
            (of("red-a", "web"), "10.96.0.79:80", true, "red is one tenant"),
            (of("blue", "web"), "10.96.0.79:80", false, "blue is another"),
            (of("blue", "web"), "10.96.0.77:5432", false, "nor may it ask databases"),
            (of("red-b", "web"), "10.96.0.79:80", true, "a pod reaches itself by its Service"),
            (of("payments", "postgres"), "10.96.0.79:80", false, "payments sends nothing"),
            (
                of("payments", "postgres"),
                "10.96.0.1:443",
                false,
                "nor to the API server, which is on this node",
            ),
        ];
        let count = cases.len();
        for (network, target, expected, why) in cases {
            assert_eq!(tried(&network, &[target.to_owned()]), [expected], "{target}: {why}");
        }
        println!(
            "real node: {count} connections to Services of kube-proxy, 0 otherwise than by the pod that is reached"
        );
    }

    /// Pods that connect to the outside at once, which is denied: not one of their packets arrives.
    fn never_open() {
        const PODS: usize = 20;
        ip("link add outside0 type veth peer name outside1");
        for device in ["outside0", "outside1"] {
            ip(&format!("link set {device} up"));
        }
        ip("addr add 192.0.2.99/32 dev lo");
        let mut collector =
            Command::new("python3").args(["-c", COLLECT]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(collector.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let came = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&came);
        let reader = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| seen.lock().unwrap().push(line));
        });
        let pod = |namespace: &str, name: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{run: quick}}}}\n\
                 spec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 0\n  containers:\n  \
                 - {{name: main, image: 'npc.test/agnhost:1', imagePullPolicy: Never, args: [connect, '192.0.2.99:5000', --timeout=2s]}}\n"
            )
        };
        let closed: String = (0..PODS).map(|number| pod("payments", &format!("quick-{number}"))).collect();
        kubectl(&["apply", "-f", "-"], &(closed + &pod("shop", "quick")));
        let phases = || {
            kubectl(&["get", "pods", "-A", "-l", "run=quick", "-o", "jsonpath={.items[*].status.phase}"], "")
        };
        until("the pods have ended", || {
            let phases = phases();
            phases.split(' ').filter(|phase| ["Succeeded", "Failed"].contains(phase)).count() == PODS + 1
        });
        let phases = phases();
        assert_eq!(phases.matches("Failed").count(), PODS, "{phases}");
        collector.kill().unwrap();
        collector.wait().unwrap();
        reader.join().unwrap();
        assert_eq!(came.lock().unwrap().len(), 1, "only the pod that may: {:?}", came.lock().unwrap());
        kubectl(&["delete", "pods", "-A", "-l", "run=quick", "--force", "--grace-period=0"], "");
        println!(
            "real node: {PODS} pods connected outside with their first packet and may not: 0 arrived; 1 may, and did"
        );
        std::io::stdout().flush().unwrap();
    }

    /// The daemon's pod is deleted: enforcement continues, and the next daemon takes over.
    fn without_daemon(cluster: &Cluster) {
        kubectl(
            &[
                "-n",
                "npc-system",
                "delete",
                "pod",
                "-l",
                "app.kubernetes.io/name=npc-node",
                "--force",
                "--grace-period=0",
            ],
            "",
        );
        verdicts(cluster, "while the daemon starts again");
        kubectl(&["-n", "npc-system", "rollout", "status", "daemonset/npc-node", "--timeout=90s"], "");
        verdicts(cluster, "after it has");
    }
}
