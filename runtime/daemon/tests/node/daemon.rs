//! Runs the daemon and its other commands.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use npc_targets::AnyTarget;
use npc_tests::memory::{Memory, compiled};
use serde_json::Value;

use crate::world::{PODS, PROGRAM, World};

pub(crate) const PINS: &str = "/sys/fs/bpf/npc-test";

pub(crate) struct Daemon {
    folder: PathBuf,
    process: Child,
    services: Option<String>,
    binary: PathBuf,
}

/// Compiles a program to an image.
pub(crate) fn image(program: &str) -> Vec<u8> {
    compiled(&Memory::one(program), AnyTarget::EBPF, None).unwrap().image
}

impl Daemon {
    pub(crate) fn new(world: &World) -> Self {
        Self::of(env!("CARGO_BIN_EXE_npc-node").into(), world)
    }

    /// Starts a binary of any version.
    pub(crate) fn of(binary: PathBuf, _: &World) -> Self {
        let folder = PathBuf::from("/run/npc-test");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("policies.npmap"), image(PROGRAM)).unwrap();
        fs::write(folder.join("pods.yaml"), PODS).unwrap();
        let services = Some("10.96.0.0/16,fd96::/64".to_owned());
        let process = start(&binary, &folder, services.as_deref());
        let daemon = Self { folder, process, services, binary };
        daemon.wait("all pods are judged", |status| {
            status["pods"].as_array().unwrap().iter().filter(|pod| !pod["interface"].is_null()).count() == 5
        });
        daemon
    }

    fn command(&self, words: &[&str]) -> Output {
        let socket = self.folder.join("node.sock");
        let place = ["--socket", socket.to_str().unwrap(), "--pins", PINS];
        Command::new(env!("CARGO_BIN_EXE_npc-node")).args(words).args(place).output().unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "--format", "json"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Waits until the status meets a condition.
    pub(crate) fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) {
        let begin = Instant::now();
        loop {
            let status = self.status();
            if !status.is_null() && is(&status) {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "{what}: {status:#}\n{}",
                fs::read_to_string(self.folder.join("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn query(&self, asked: &str) -> Vec<Value> {
        let file = self.folder.join("asked");
        fs::write(&file, asked).unwrap();
        let output = self.command(&["query", "--connections", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The reported flows, one JSON object per line.
    pub(crate) fn flows(&self) -> Vec<Value> {
        let output = self.command(&["flows", "--format", "json"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Replaces a file atomically, as an installer does.
    fn replace(&self, name: &str, content: &[u8]) {
        let beside = self.folder.join(format!("{name}.new"));
        File::create(&beside).unwrap().write_all(content).unwrap();
        fs::rename(&beside, self.folder.join(name)).unwrap();
    }

    /// Installs a program, and waits until it is in force.
    pub(crate) fn program(&self, program: &str) {
        let before = self.status()["generation"].as_u64().unwrap();
        self.replace("policies.npmap", &image(program));
        self.wait("the program is in force", |status| status["generation"].as_u64().unwrap() > before);
    }

    pub(crate) fn image_file(&self, bytes: &[u8]) {
        self.replace("policies.npmap", bytes);
    }

    pub(crate) fn pods(&self, pods: &str) {
        self.replace("pods.yaml", pods.as_bytes());
    }

    /// Limits the memory of the process to its current size plus `more` bytes.
    pub(crate) fn limit_memory(&self, more: u64) {
        let id = self.process.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
        let size: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let limit = format!("--as={}", size * 1024 + more);
        assert!(Command::new("prlimit").args(["--pid", &id.to_string(), &limit]).status().unwrap().success());
    }

    /// Waits until an image is rejected or the process has ended. Returns whether it has ended.
    pub(crate) fn wait_refused_or_ended(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(30) {
            if self.process.try_wait().unwrap().is_some() {
                return true;
            }
            if self.status()["image"]["error"].is_string() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("it takes an image for which it has no memory");
    }

    /// Kills the process.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.process = start(&self.binary, &self.folder, self.services.as_deref());
    }

    /// Replaces the running version by another one.
    pub(crate) fn become_version(&mut self, binary: PathBuf) {
        let before = self.status()["generation"].as_u64().unwrap();
        self.kill();
        self.binary = binary;
        self.start_again();
        self.wait("the other version is in force", |status| {
            status["generation"].as_u64().unwrap() > before && status["ready"] == true
        });
    }

    /// Restarts the daemon with another value of `--services`, or without it.
    pub(crate) fn set_services(&mut self, services: Option<&str>) {
        self.services = services.map(ToOwned::to_owned);
        let before = self.status()["generation"].as_u64().unwrap();
        self.kill();
        self.start_again();
        self.wait("all is in force again", |status| status["generation"].as_u64().unwrap() > before);
    }

    pub(crate) fn detach(mut self) {
        let output = self.command(&["detach"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(self.process.wait().unwrap().success());
        assert!(!PathBuf::from(PINS).exists(), "something is left");
        println!("node: detached, nothing is left");
    }
}

/// A failed test leaves no daemon behind.
impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(self.folder.join("log")).unwrap_or_default());
        }
    }
}

fn start(binary: &std::path::Path, folder: &std::path::Path, services: Option<&str>) -> Child {
    let services = services.map(|services| ["--services", services]);
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new(binary)
        .args(["run", "--node", "here", "--cgroup", "/run/cgroup"])
        .args(services.into_iter().flatten())
        .arg("--image")
        .arg(folder.join("policies.npmap"))
        .arg("--pods")
        .arg(folder.join("pods.yaml"))
        .arg("--socket")
        .arg(folder.join("node.sock"))
        .args(["--pins", PINS])
        .env("NPC_LOG", "debug")
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap()
}
