//! The intermediate representation of programs, in which all names are resolved and all values checked.
//!
//! Two values are equal if they have the same meaning: locations and documentation do not count.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use educe::Educe;
use npc_diagnostics::Location;
use npc_vocabulary::{Action, Direction, Operator, Port, Tier};

use crate::values::address::{Block, IpNet};

/// A program: all files that were compiled together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// The policies, ordered by file and position. When a program is resolved again, unchanged policies keep their
    /// `Arc`.
    pub policies: Vec<Arc<Policy>>,
    /// The tests.
    pub tests: Vec<Test>,
    /// The assertions.
    pub asserts: Vec<Assertion>,
    /// Kyverno settings that apply to policies without a setting of their own.
    pub settings: Settings,
}

/// A policy.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct Policy {
    /// Its name, unique in the program.
    pub name: Arc<str>,
    /// The location of its name.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
    /// The location of the whole item, from its first to its last token.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub whole: Location,
    /// Its documentation, line by line.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub docs: Vec<String>,
    /// The location of `audit`, if this is an audit policy.
    #[educe(PartialEq(method(same_presence)), Hash(method(hash_presence)))]
    pub audit: Option<Location>,
    /// Its tier.
    pub tier: Tier,
    /// The location of the tier's keyword.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub tier_location: Option<Location>,
    /// Its priority, 0 to 1000. Lower numbers are evaluated first. The default is [`LAST_PRIORITY`].
    pub priority: u16,
    /// The location of the priority.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub priority_location: Option<Location>,
    /// The pods that it selects. Each term has an explicit scope.
    pub subjects: Vec<Arc<PodTerm>>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// The locations of `isolate ingress` and `isolate egress`.
    pub isolate: Isolation,
    /// Its own Kyverno settings.
    pub settings: Settings,
}

impl Program {
    /// The policies that are not audit policies, with their indices.
    pub fn deciding(&self) -> impl Iterator<Item = (usize, &Policy)> + Clone {
        let all = self.policies.iter().map(|policy| &**policy).enumerate();
        all.filter(|(_, policy)| policy.audit.is_none())
    }
}

impl Policy {
    /// Whether the policy covers the direction: has a rule for it or isolates it.
    #[must_use]
    pub fn covers(&self, direction: Direction) -> bool {
        self.isolate.of(direction).is_some() || self.rules.iter().any(|rule| rule.direction == direction)
    }
}

/// The priority of a policy without `priority`. It is evaluated last.
pub const LAST_PRIORITY: u16 = 1000;

/// The directions that a policy isolates with `isolate`.
#[derive(Clone, Copy, Debug, Default, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct Isolation {
    /// The location of `isolate ingress`.
    #[educe(PartialEq(method(same_presence)), Hash(method(hash_presence)))]
    pub ingress: Option<Location>,
    /// The location of `isolate egress`.
    #[educe(PartialEq(method(same_presence)), Hash(method(hash_presence)))]
    pub egress: Option<Location>,
}

impl Isolation {
    /// The location of `isolate` for the direction.
    #[must_use]
    pub const fn of(&self, direction: Direction) -> Option<Location> {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// A rule.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct Rule {
    /// The location of the whole rule.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
    /// The action.
    pub action: Action,
    /// The location of the action.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub action_location: Location,
    /// The direction.
    pub direction: Direction,
    /// The peers.
    pub peers: Vec<Peer>,
    /// The ports. Empty matches every port of every protocol, including protocols without ports.
    pub ports: Vec<PortTerm>,
    /// The location of `log`.
    #[educe(PartialEq(method(same_presence)), Hash(method(hash_presence)))]
    pub log: Option<Location>,
}

impl Rule {
    /// The exceptions, if the rule names all addresses of both families except some: `anywhere except …`, or
    /// `0.0.0.0/0` and `::/0` with exceptions.
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
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub enum Peer {
    /// Every pod and every address, except the addresses in `except` and the pods that have one of them.
    Anywhere {
        /// The excluded addresses.
        except: Vec<Block>,
        /// The location of the peer.
        #[educe(PartialEq(ignore), Hash(ignore))]
        location: Location,
    },
    /// Pods.
    Pods(Arc<PodTerm>),
    /// Addresses.
    Block(Arc<CidrTerm>),
}

/// Addresses with their location in the source.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct CidrTerm {
    /// The addresses.
    pub block: Block,
    /// The location.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
}

/// A port term with its location in the source.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct PortTerm {
    /// The port.
    pub port: Port,
    /// The location.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
}

/// A pod term: a selector of pods in the namespaces of a scope.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct PodTerm {
    /// The selector of pods.
    pub selector: Selector,
    /// The namespaces of the pods.
    pub scope: Scope,
    /// The location of the term.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
    /// The location of the scope. `None` if the term has no `in …`; such a peer matches pods in the subject's own
    /// namespace.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub scope_location: Option<Location>,
}

/// A set of namespaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The namespaces before exceptions.
    pub base: ScopeBase,
    /// Excluded namespaces, by name or name pattern.
    pub except_names: Vec<Arc<str>>,
    /// Excluded namespaces, by label: a namespace is excluded if any of these selectors matches it.
    pub except_labels: Vec<Selector>,
}

/// The namespaces of a scope, before exceptions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScopeBase {
    /// Every namespace.
    All,
    /// Namespaces with these names. A name may be a pattern with `*` and `?`.
    Names(Vec<Arc<str>>),
    /// Namespaces that the selector matches.
    Labels(Selector),
    /// The subject's own namespace.
    Same,
    /// Namespaces that have all of these labels, with the same values as the subject's namespace. If the subject's
    /// namespace lacks one of the labels, there are none; not even that namespace itself matches.
    Sharing(Vec<Arc<str>>),
}

/// A label selector. All requirements must hold. An empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// The requirements, in source order, without duplicates.
    pub requirements: Vec<Requirement>,
}

/// A requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// The operator.
    pub operator: Operator,
    /// The values, sorted and without duplicates. Empty for `Exists` and `DoesNotExist`.
    pub values: Vec<Arc<str>>,
}

/// Kyverno settings, each with its location.
#[derive(Clone, Debug, Default, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct Settings {
    /// `synchronize`: whether Kyverno reverts edits of generated objects and deletes them with their policy. Default:
    /// true.
    #[educe(PartialEq(method(same_value)), Hash(method(hash_value)))]
    pub synchronize: Option<(bool, Location)>,
    /// `generate-existing`: whether Kyverno also generates objects in namespaces that already exist. Default: true.
    #[educe(PartialEq(method(same_value)), Hash(method(hash_value)))]
    pub generate_existing: Option<(bool, Location)>,
    /// `webhook-timeout`, in seconds, 1 to 30. Default: 5.
    #[educe(PartialEq(method(same_value)), Hash(method(hash_value)))]
    pub webhook_timeout: Option<(u8, Location)>,
    /// `failure-policy`. Default: `ignore`.
    #[educe(PartialEq(method(same_value)), Hash(method(hash_value)))]
    pub failure_policy: Option<(FailurePolicy, Location)>,
    /// `orphan-on-delete`: whether generated objects stay when the Kyverno policy is deleted. Default: false.
    #[educe(PartialEq(method(same_value)), Hash(method(hash_value)))]
    pub orphan_on_delete: Option<(bool, Location)>,
}

impl Settings {
    /// These settings, with unset ones taken from `other`.
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

/// The failure policy of Kyverno's webhooks: what the API server does with an object if Kyverno does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailurePolicy {
    /// Accepts it: a namespace is created without its policies.
    Ignore,
    /// Rejects it.
    Fail,
}

impl FailurePolicy {
    /// Parses the value used in programs, in `npc.toml` and on the command line.
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
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct Test {
    /// The name.
    pub name: String,
    /// The location of the name.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
    /// Files with more namespaces and pods. Their paths are relative to the test's file.
    #[educe(PartialEq(method(same_value)), Hash(method(hash_value)))]
    pub clusters: Vec<(String, Location)>,
    /// The namespaces of the test's cluster.
    pub namespaces: Vec<TestNamespace>,
    /// The pods of the test's cluster.
    pub pods: Vec<TestPod>,
    /// The expected verdicts.
    pub expectations: Vec<Expectation>,
}

/// The labels of an object, as key and value.
pub type Labels = Vec<(Arc<str>, Arc<str>)>;

/// A namespace of a test.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct TestNamespace {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, without `kubernetes.io/metadata.name`.
    pub labels: Labels,
    /// The location of its name.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
}

/// A pod of a test.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct TestPod {
    /// Its name.
    pub name: Arc<str>,
    /// The name of its namespace.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Its named ports. Each is a single port of one protocol.
    pub ports: Vec<(Arc<str>, Port)>,
    /// The location of its name.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
}

/// One end of an expected connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A pod, by namespace and name.
    Pod(Arc<str>, Arc<str>),
    /// Addresses outside the cluster.
    Addresses(Vec<Block>),
}

/// The expected verdict of connections in a test.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct Expectation {
    /// Whether the connections must be allowed or denied.
    pub allowed: bool,
    /// The source.
    pub source: End,
    /// The destination.
    pub destination: End,
    /// The ports. Empty for any protocol.
    pub ports: Vec<PortTerm>,
    /// The location.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
}

/// An assertion: a verdict that must hold in every cluster.
#[derive(Clone, Debug, Educe)]
#[educe(PartialEq, Eq, Hash)]
pub struct Assertion {
    /// Whether the connections must be allowed or denied.
    pub allowed: bool,
    /// The source pods.
    pub sources: Vec<Arc<PodTerm>>,
    /// The destinations.
    pub destinations: Vec<Peer>,
    /// The ports. Empty for every protocol.
    pub ports: Vec<PortTerm>,
    /// The location.
    #[educe(PartialEq(ignore), Hash(ignore))]
    pub location: Location,
}

/// Compares keywords of which only the presence has a meaning.
const fn same_presence(a: &Option<Location>, b: &Option<Location>) -> bool {
    a.is_some() == b.is_some()
}

fn hash_presence<H: Hasher>(keyword: &Option<Location>, state: &mut H) {
    keyword.is_some().hash(state);
}

/// Compares values without their locations.
fn same_value<'v, T: PartialEq + 'v>(
    a: &'v impl LocatedValues<Value = T>,
    b: &'v impl LocatedValues<Value = T>,
) -> bool {
    a.values().eq(b.values())
}

fn hash_value<T: Hash, H: Hasher>(located: &impl LocatedValues<Value = T>, state: &mut H) {
    located.values().for_each(|value| value.hash(state));
    located.values().count().hash(state);
}

/// Values with their locations.
trait LocatedValues {
    type Value;
    fn values(&self) -> impl Iterator<Item = &Self::Value>;
}

impl<T> LocatedValues for Option<(T, Location)> {
    type Value = T;
    fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(value, _)| value)
    }
}

impl<T> LocatedValues for Vec<(T, Location)> {
    type Value = T;
    fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(value, _)| value)
    }
}
