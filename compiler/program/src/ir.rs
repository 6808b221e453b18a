//! Programs: what the sources say, with every name resolved and every value checked.

use std::sync::Arc;

use npc_diagnostics::Location;
pub use npc_syntax::ast::{Action, Direction, Operator, Tier};

use crate::values::address::{Block, IpNet};
use crate::values::port::Port;

/// A program: all files that were compiled together.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The policies, in the order of files and lines. One that is as it was is the one that was.
    pub policies: Vec<Arc<Policy>>,
    /// The tests.
    pub tests: Vec<Test>,
    /// The assertions.
    pub asserts: Vec<Assertion>,
    /// Settings for Kyverno that hold where a policy has none of its own.
    pub settings: Settings,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name, unique in the program.
    pub name: Arc<str>,
    /// Where its name stands.
    pub location: Location,
    /// From its first to its last token.
    pub whole: Location,
    /// Its documentation, line by line.
    pub docs: Vec<String>,
    /// Where `audit` stands, for a policy that decides nothing.
    pub audit: Option<Location>,
    /// Its tier.
    pub tier: Tier,
    /// Where the tier's keyword stands.
    pub tier_location: Option<Location>,
    /// Its priority, 0 to 1000; lower is asked first. Without one it is [`LAST_PRIORITY`].
    pub priority: u16,
    /// Where the priority stands.
    pub priority_location: Option<Location>,
    /// The pods that it is for. Each says its namespaces.
    pub subjects: Vec<Arc<PodTerm>>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// Where `isolate ingress` and `isolate egress` stand.
    pub isolate: Isolation,
    /// Its own settings for Kyverno.
    pub settings: Settings,
}

impl Program {
    /// The policies that decide, which are all but audit policies, with their places.
    pub fn deciding(&self) -> impl Iterator<Item = (usize, &Policy)> + Clone {
        let all = self.policies.iter().map(|policy| &**policy).enumerate();
        all.filter(|(_, policy)| policy.audit.is_none())
    }
}

impl Policy {
    /// Whether the policy says anything of the direction: a rule or `isolate`.
    #[must_use]
    pub fn speaks_of(&self, direction: Direction) -> bool {
        self.isolate.of(direction).is_some() || self.rules.iter().any(|rule| rule.direction == direction)
    }
}

/// The priority of a policy that names none: it is asked last.
pub const LAST_PRIORITY: u16 = 1000;

/// The directions that a policy isolates by `isolate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Where it says `isolate ingress`.
    pub ingress: Option<Location>,
    /// Where it says `isolate egress`.
    pub egress: Option<Location>,
}

impl Isolation {
    /// Where the policy isolates the direction.
    #[must_use]
    pub const fn of(&self, direction: Direction) -> Option<Location> {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The whole rule.
    pub location: Location,
    /// What it does.
    pub action: Action,
    /// Where its action stands.
    pub action_location: Location,
    /// Which direction.
    pub direction: Direction,
    /// Whom it names.
    pub peers: Vec<Peer>,
    /// On which ports; empty for every protocol there is.
    pub ports: Vec<PortTerm>,
    /// Where `log` stands.
    pub log: Option<Location>,
}

impl Rule {
    /// Where the rule names every address of both families but some: those.
    #[must_use]
    pub fn all_but(&self) -> Option<Vec<IpNet>> {
        let whole = |v4: bool| {
            self.peers.iter().find_map(|peer| match peer {
                Peer::Block(term) => {
                    let Block { net, except } = &term.block;
                    (net.prefix_len() == 0 && net.addr().is_ipv4() == v4).then_some(except)
                }
                Peer::Anywhere { .. } | Peer::Pods(_) => None,
            })
        };
        let anywhere = self.peers.iter().find_map(|peer| match peer {
            Peer::Anywhere { except, .. } => Some(except.iter().map(|block| block.net).collect()),
            Peer::Block(_) | Peer::Pods(_) => None,
        });
        anywhere.or_else(|| Some(whole(true)?.iter().chain(whole(false)?).copied().collect()))
    }
}

/// A peer of a rule.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Every pod and every address, without the addresses in `except` and the pods that have one.
    Anywhere {
        /// The addresses left out.
        except: Vec<Block>,
        /// Where it stands.
        location: Location,
    },
    /// Pods.
    Pods(Arc<PodTerm>),
    /// Addresses.
    Block(Arc<BlockTerm>),
}

/// Addresses, and where the program names them.
#[derive(Clone, Debug)]
pub struct BlockTerm {
    /// The addresses.
    pub block: Block,
    /// Where they stand.
    pub location: Location,
}

/// A port, and where the program names it.
#[derive(Clone, Debug)]
pub struct PortTerm {
    /// The port.
    pub port: Port,
    /// Where it stands.
    pub location: Location,
}

/// Pods of some namespaces.
#[derive(Clone, Debug)]
pub struct PodTerm {
    /// Which pods.
    pub selector: Selector,
    /// In which namespaces.
    pub scope: Scope,
    /// Where the term stands.
    pub location: Location,
    /// Where the scope stands; `None` for a peer that names none and so means its subject's own
    /// namespace.
    pub scope_location: Option<Location>,
}

/// Namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Which.
    pub base: ScopeBase,
    /// Names, and patterns of names, that are left out.
    pub except_names: Vec<Arc<str>>,
    /// Labels of namespaces that are left out: those that any of these selects.
    pub except_labels: Vec<Selector>,
}

/// Namespaces, before `except`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScopeBase {
    /// Every namespace.
    All,
    /// Those of these names; a name may be a pattern with `*` and `?`.
    Names(Vec<Arc<str>>),
    /// Those with these labels.
    Labels(Selector),
    /// The subject's own namespace.
    Same,
    /// Those that have all of these labels with the same values as the subject's namespace. A
    /// namespace without one of them shares with none, not even with itself.
    Sharing(Vec<Arc<str>>),
}

/// Requirements on labels, all of which must hold. An empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// The requirements, in the order of the source, without repetitions.
    pub requirements: Vec<Requirement>,
}

/// A requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What it asks.
    pub operator: Operator,
    /// The values, in order and without repetitions; empty for `Exists` and `DoesNotExist`.
    pub values: Vec<Arc<str>>,
}

/// Settings for Kyverno, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `synchronize`: whether Kyverno undoes edits and cleans up. Default: true.
    pub synchronize: Option<(bool, Location)>,
    /// `generate-existing`: whether namespaces that exist already get the policy. Default: true.
    pub generate_existing: Option<(bool, Location)>,
    /// `webhook-timeout`, in seconds, 1 to 30. Default: 5.
    pub webhook_timeout: Option<(u8, Location)>,
    /// `failure-policy`. Default: `ignore`.
    pub failure_policy: Option<(FailurePolicy, Location)>,
    /// `orphan-on-delete`: whether what was generated stays when the Kyverno policy is deleted.
    /// Default: false.
    pub orphan_on_delete: Option<(bool, Location)>,
}

impl Settings {
    /// These settings, and those of `other` where these say nothing.
    #[must_use]
    pub const fn or(self, other: &Self) -> Self {
        const fn either<T: Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
            if a.is_some() { a } else { b }
        }
        Self {
            synchronize: either(self.synchronize, other.synchronize),
            generate_existing: either(self.generate_existing, other.generate_existing),
            webhook_timeout: either(self.webhook_timeout, other.webhook_timeout),
            failure_policy: either(self.failure_policy, other.failure_policy),
            orphan_on_delete: either(self.orphan_on_delete, other.orphan_on_delete),
        }
    }
}

/// What the API server does with a namespace while Kyverno does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Lets it be made, without its policies.
    Ignore,
    /// Refuses it.
    Fail,
}

impl FailurePolicy {
    /// The policy of that name in a program, in `npc.toml` and on the command line.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "ignore" => Some(Self::Ignore),
            "fail" => Some(Self::Fail),
            _ => None,
        }
    }
}

/// A test.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it is called.
    pub name: String,
    /// Where its name stands.
    pub location: Location,
    /// Files with further namespaces and pods, relative to the test's file.
    pub clusters: Vec<(String, Location)>,
    /// Namespaces, with their labels.
    pub namespaces: Vec<TestNamespace>,
    /// Pods.
    pub pods: Vec<TestPod>,
    /// What is expected.
    pub expectations: Vec<Expectation>,
}

/// Labels of an object.
pub type Labels = Vec<(Arc<str>, Arc<str>)>;

/// A namespace of a test.
#[derive(Clone, Debug)]
pub struct TestNamespace {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, without the one that holds its name.
    pub labels: Labels,
    /// Where it stands.
    pub location: Location,
}

/// A pod of a test.
#[derive(Clone, Debug)]
pub struct TestPod {
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace's name.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its named ports; each is one port of one protocol.
    pub ports: Vec<(Arc<str>, Port)>,
    /// Where it stands.
    pub location: Location,
}

/// One end of an expected connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A pod, by namespace and name.
    Pod(Arc<str>, Arc<str>),
    /// Addresses outside the cluster.
    Addresses(Vec<Block>),
}

/// What a test expects of connections.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Whether they are to be allowed.
    pub allowed: bool,
    /// Where they come from.
    pub source: End,
    /// Where they go.
    pub destination: End,
    /// On which ports; empty for any protocol.
    pub ports: Vec<PortTerm>,
    /// Where it stands.
    pub location: Location,
}

/// A claim about every cluster.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// Whether the connections are to be allowed.
    pub allowed: bool,
    /// The pods that they come from.
    pub sources: Vec<Arc<PodTerm>>,
    /// Where they go.
    pub destinations: Vec<Peer>,
    /// On which ports; empty for every protocol.
    pub ports: Vec<PortTerm>,
    /// Where it stands.
    pub location: Location,
}
