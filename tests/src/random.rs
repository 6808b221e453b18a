//! Random programs that use everything NetworkPolicy can express.

use std::fmt::Write as _;

use fastrand::Rng;

use crate::namespaces::{LABELS, NAMES};

/// A program whose policy names start with `prefix`. Most programs are valid; some contain errors and are
/// rejected.
#[must_use]
pub fn program(random: &mut Rng, prefix: &str) -> String {
    let mut out = String::new();
    let mut maker = Maker { random };
    maker.sets(&mut out);
    for index in 0..maker.random.usize(1..4) {
        maker.policy(&mut out, &format!("{prefix}-{index}"));
    }
    out
}

/// A program with this many policies in all tiers. Most programs are valid.
#[must_use]
pub fn program_with_tiers(random: &mut Rng, policies: usize) -> String {
    let mut out = String::new();
    let mut maker = Maker { random };
    maker.sets(&mut out);
    for index in 0..policies {
        let name = format!("p-{index}");
        match maker.random.u8(..6) {
            0 | 1 => maker.tier(&mut out, "admin", &name, index, &["allow", "deny", "pass"]),
            2 => maker.tier(&mut out, "baseline", &name, index, &["allow", "deny"]),
            _ => maker.policy(&mut out, &name),
        }
    }
    out
}

struct Maker<'r> {
    random: &'r mut Rng,
}

impl Maker<'_> {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn some(&mut self, least: usize, most: usize, mut make: impl FnMut(&mut Self) -> String) -> String {
        let count = self.random.usize(least..=most);
        (0..count).map(|_| make(self)).collect::<Vec<_>>().join(", ")
    }

    fn sets(&self, out: &mut String) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "let dns = udp/53, tcp/53");
        let _ = writeln!(out, "let private = 10.0.0.0/8, 172.16.0.0/12, fd00::/8");
        let _ = writeln!(out, "let web = pods {{ app = web }} in namespaces {{ env }}");
    }

    fn tier(&mut self, out: &mut String, tier: &str, name: &str, priority: usize, actions: &[&str]) {
        let subject = format!("{} in {}", self.pods(), self.subject_scope());
        let _ = writeln!(out, "{tier} policy {name} priority {priority} for {subject} {{");
        for _ in 0..self.random.usize(1..4) {
            let rule = self.rule();
            let _ = writeln!(out, "  {} {rule}", self.one(actions));
        }
        out.push_str("}\n");
    }

    fn policy(&mut self, out: &mut String, name: &str) {
        if self.random.u8(..4) == 0 {
            let doc = self.one(&[
                "Plain words.",
                "With {{ braces }} and (( parentheses )), 'quotes', \"more\", $(x) and $(a b).",
                "key: value # not a comment",
                "- item \\{{ x }} é\u{1f512}",
                "no",
            ]);
            let _ = writeln!(out, "/// {doc}");
        }
        let subject = self.some(1, 2, |this| {
            let pods = this.pods();
            format!("{pods} in {}", this.subject_scope())
        });
        let _ = writeln!(out, "policy {name} for {subject} {{");
        for _ in 0..self.random.usize(1..4) {
            let statement = self.statement();
            let _ = writeln!(out, "  {statement}");
        }
        if self.random.u8(..6) == 0 {
            let setting =
                self.one(&["synchronize = false", "webhook-timeout = 10s", "orphan-on-delete = true"]);
            let _ = writeln!(out, "  kyverno {{ {setting} }}");
        }
        out.push_str("}\n");
    }

    fn statement(&mut self) -> String {
        if self.random.u8(..5) == 0 {
            return self.one(&["isolate ingress", "isolate egress", "isolate ingress, egress"]).to_owned();
        }
        format!("allow {}", self.rule())
    }

    fn rule(&mut self) -> String {
        let direction = self.one(&["ingress from", "egress to"]);
        let peers = if self.random.u8(..8) == 0 {
            self.one(&["anywhere", "anywhere except 169.254.169.254", "anywhere except private"]).to_owned()
        } else {
            self.some(1, 3, Self::peer)
        };
        let ports = if self.random.bool() {
            let ports = self.some(1, 3, |this| {
                this.one(&[
                    "tcp/80",
                    "udp/53",
                    "sctp/9",
                    "tcp/8000-8100",
                    "tcp/http",
                    "udp",
                    "dns",
                    "tcp/65535",
                ])
                .to_owned()
            });
            format!(" on {ports}")
        } else {
            String::new()
        };
        format!("{direction} {peers}{ports}")
    }

    fn peer(&mut self) -> String {
        match self.random.u8(..6) {
            0 => self
                .one(&[
                    "10.0.0.0/8 except (10.1.0.0/16, 10.2.3.4)",
                    "private except 10.96.0.0/12",
                    "10.0.0.0/8 except (10.1.0.0/16 except 10.1.2.0/24)",
                    "2001:db8::/32",
                    "0.0.0.0/0",
                    "192.0.2.7",
                ])
                .to_owned(),
            1 => "web".to_owned(),
            2 => self.pods(),
            _ => {
                let pods = self.pods();
                format!("{pods} in {}", self.peer_scope())
            }
        }
    }

    fn pods(&mut self) -> String {
        if self.random.u8(..3) == 0 {
            return "all pods".to_owned();
        }
        let requirements = self.some(0, 2, |this| {
            this.one(&[
                "app = web",
                "app in (web, api, \"\")",
                "tier != db",
                "tier notin (db, cache)",
                "release",
                "!legacy",
                "app.kubernetes.io/name == no",
                "\"y\" = \"on\"",
            ])
            .to_owned()
        });
        format!("pods {{ {requirements} }}")
    }

    fn labels(&mut self) -> String {
        let requirements = self.some(1, 2, |this| {
            let (key, values) = this.one(&LABELS);
            let value = this.one(values).filter(|value| *value != "~").unwrap_or("prod");
            match this.random.u8(..5) {
                0 => format!("{key} = \"{value}\""),
                1 => format!("{key} in (\"{value}\", other)"),
                2 => format!("{key} notin (\"{value}\", other)"),
                3 => key.to_owned(),
                _ => format!("!{key}"),
            }
        });
        format!("{{ {requirements} }}")
    }

    fn names(&mut self, globs: bool) -> String {
        let names = self.some(1, 3, |this| {
            if globs && this.random.bool() {
                this.one(&["team-*", "*-prod", "?", "*o*", "prod-??", "x?y", "1*"]).to_owned()
            } else {
                this.one(&NAMES).to_owned()
            }
        });
        format!("({names})")
    }

    fn subject_scope(&mut self) -> String {
        let base = match self.random.u8(..5) {
            0 => "all namespaces".to_owned(),
            1 => format!("namespace {}", self.one(&NAMES)),
            2 => format!("namespaces {}", self.names(true)),
            _ => format!("namespaces {}", self.labels()),
        };
        base + &self.except(true)
    }

    fn peer_scope(&mut self) -> String {
        let base = match self.random.u8(..8) {
            0 => "all namespaces".to_owned(),
            1 => format!("namespace {}", self.one(&NAMES)),
            2 => format!("namespaces {}", self.names(false)),
            3 => format!("namespaces {}", self.labels()),
            4 => "same namespace".to_owned(),
            5 => "namespaces sharing (tenant, env)".to_owned(),
            _ => {
                let (key, _) = self.one(&LABELS);
                format!("namespaces sharing {key}")
            }
        };
        base + &self.except(false)
    }

    fn except(&mut self, globs: bool) -> String {
        match self.random.u8(..4) {
            0 => format!(" except {}", self.names(globs)),
            1 => format!(" except {}", self.labels()),
            2 if self.random.bool() => {
                let name = self.one(&NAMES);
                format!(" except ({name}, {}, {})", self.labels(), self.labels())
            }
            _ => String::new(),
        }
    }
}
