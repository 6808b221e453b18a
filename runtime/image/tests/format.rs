//! The format: images survive a round trip, and invalid files are rejected.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::sync::Arc;

use fastrand::Rng;
use npc_image::{
    AddressSets, Glob, Image, Place, PodTerm, Policy, PortName, PortSets, ReadError, Requirement, Rule,
    Scope, ScopeBase, digest, read, write,
};
use npc_vocabulary::{Action, Direction, Operator, Protocol, Tier};

fn text(random: &mut Rng) -> Arc<str> {
    Arc::from(["app", "web", "é", "", "a/b", "shop", "kube-*", "🙂"][random.usize(..8)])
}

fn some<T>(random: &mut Rng, most: usize, mut each: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..random.usize(..=most)).map(|_| each(random)).collect()
}

fn sorted(random: &mut Rng, count: u32) -> Vec<u32> {
    (0..count).filter(|_| random.bool()).collect()
}

fn ranges<K: Ord + Copy + Default>(
    random: &mut Rng,
    classes: u32,
    key: impl Fn(&mut Rng) -> K,
) -> Vec<(K, u32)> {
    let mut firsts = some(random, 5, key);
    firsts.push(K::default());
    firsts.sort_unstable();
    firsts.dedup();
    firsts.into_iter().map(|first| (first, random.u32(..classes))).collect()
}

fn scope(random: &mut Rng, selectors: u32, depends: bool) -> Scope {
    let globs = |random: &mut Rng| some(random, 2, |random| Glob::new(text(random)));
    Scope {
        base: match random.u8(..if depends { 5 } else { 3 }) {
            0 => ScopeBase::All,
            1 => ScopeBase::Names(globs(random)),
            2 => ScopeBase::Labels(random.u32(..selectors)),
            3 => ScopeBase::Same,
            _ => ScopeBase::Sharing(some(random, 2, text)),
        },
        except_names: globs(random),
        except_selectors: some(random, 2, |random| random.u32(..selectors)),
    }
}

fn image(random: &mut Rng) -> Image {
    let mut selectors = some(random, 4, |random| {
        some(random, 3, |random| {
            let operator =
                [Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist][random.usize(..4)];
            let values = match operator {
                Operator::In | Operator::NotIn => vec![text(random), text(random)],
                Operator::Exists | Operator::DoesNotExist => Vec::new(),
            };
            Requirement { key: text(random), operator, values }
        })
    });
    selectors.push(Vec::new());
    let count = selectors.len() as u32;
    // A subject's scope must not depend on another pod, and the first scope does not.
    let scopes = vec![scope(random, count, false), scope(random, count, true), scope(random, count, true)];
    let pod_terms: Vec<PodTerm> =
        (0..3).map(|scope| PodTerm { scope, selector: random.u32(..count) }).collect();
    let sets = random.u32(..4);
    let address_classes: Vec<Vec<u32>> = (0..3).map(|_| sorted(random, sets)).collect();
    let named: Vec<Vec<PortName>> = some(random, 3, |random| {
        some(random, 2, |random| PortName { protocol: Protocol::ALL[random.usize(..3)], name: text(random) })
    });
    let ports = named.len() as u32;
    let port_classes: Vec<Vec<u32>> = (0..2).map(|_| sorted(random, ports)).collect();
    let files = vec![text(random), text(random)];
    let place = |random: &mut Rng| Place { file: random.u32(..2), line: random.u32(..) };
    let policies = some(random, 3, |random| {
        let tier = [Tier::Admin, Tier::Namespaced, Tier::Baseline][random.usize(..3)];
        let actions: &[Action] = match tier {
            Tier::Admin => &[Action::Allow, Action::Deny, Action::Pass],
            Tier::Namespaced => &[Action::Allow],
            Tier::Baseline => &[Action::Allow, Action::Deny],
        };
        Policy {
            name: text(random),
            place: place(random),
            tier,
            priority: random.u16(..),
            audit: random.bool(),
            isolates: [random.bool(), random.bool()],
            subjects: some(random, 2, |_| 0),
            rules: some(random, 3, |random| Rule {
                place: place(random),
                direction: [Direction::Egress, Direction::Ingress][random.usize(..2)],
                action: actions[random.usize(..actions.len())],
                log: random.bool(),
                pods: some(random, 2, |random| random.u32(..3)),
                addresses: (sets > 0 && random.bool()).then(|| random.u32(..sets)),
                ports: (ports > 0 && random.bool()).then(|| random.u32(..ports)),
            }),
        }
    });
    Image {
        files,
        selectors,
        scopes,
        pod_terms,
        addresses: AddressSets {
            count: sets,
            v4: ranges(random, 3, |random| random.u32(..)),
            v6: ranges(random, 3, |random| random.u128(..)),
            classes: address_classes,
            of_unknown: sorted(random, sets),
        },
        ports: PortSets {
            ranges: std::array::from_fn(|_| ranges(random, 2, |random| random.u16(..))),
            named,
            classes: port_classes,
        },
        policies,
    }
}

#[test]
fn what_is_written_is_read() {
    let mut random = Rng::with_seed(1);
    for _ in 0..3_000 {
        let image = image(&mut random);
        let bytes = write(&image);
        let found = read(&bytes).unwrap_or_else(|why| panic!("{why}\n{image:#?}"));
        assert_eq!(found, image);
        assert_eq!(write(&found), bytes);
    }
}

/// Flips every bit, truncates to every length, and appends a byte.
#[test]
fn what_is_not_whole_is_refused() {
    let mut random = Rng::with_seed(2);
    let image = image(&mut random);
    let bytes = write(&image);
    let mut refused = 0;
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let why = read(&altered).expect_err("an altered image is taken");
        assert!(!why.to_string().is_empty());
        refused += 1;
    }
    for length in 0..bytes.len() {
        read(&bytes[..length]).expect_err("a truncated image is taken");
        refused += 1;
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(
        read(&longer),
        Err(ReadError::Length { said: bytes.len() as u64, is: bytes.len() as u64 + 1 })
    );
    println!("image: {} bytes, {refused} bits and truncations refused", bytes.len());
}

/// A forged file has a valid digest: it is rejected, or its content is valid.
#[test]
fn what_is_made_up_is_refused_or_sound() {
    let mut random = Rng::with_seed(3);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..300 {
        let bytes = write(&image(&mut random));
        for _ in 0..100 {
            let mut made_up = bytes.clone();
            for _ in 0..1 + random.usize(..3) {
                let at = 56 + random.usize(..made_up.len() - 56);
                made_up[at] = if random.bool() { random.u8(..) } else { made_up[at].wrapping_add(1) };
            }
            let digest = digest(&made_up);
            made_up[24..56].copy_from_slice(&digest);
            match read(&made_up) {
                // An accepted image must be as valid as any other: it survives a round trip.
                Ok(image) => {
                    assert_eq!(read(&write(&image)).as_ref(), Ok(&image));
                    taken += 1;
                }
                Err(ReadError::Malformed { .. }) => refused += 1,
                Err(why) => panic!("{why}"),
            }
        }
    }
    println!("image: of made up ones {refused} refused, {taken} taken, which are sound");
    assert!(refused > 1_000 && taken > 100, "{refused} {taken}");
}

#[test]
fn errors_say_what_is_wrong() {
    let bytes = write(&Image {
        addresses: AddressSets {
            v4: vec![(0, 0)],
            v6: vec![(0, 0)],
            classes: vec![vec![]],
            ..AddressSets::default()
        },
        ports: PortSets {
            ranges: std::array::from_fn(|_| vec![(0, 0)]),
            classes: vec![vec![]],
            ..PortSets::default()
        },
        ..Image::default()
    });
    read(&bytes).unwrap();
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(
        read(&newer).unwrap_err().to_string(),
        "the image has format version 2, and only version 1 is supported: compile it again with the version of npc that the node runs"
    );
    let mut altered = bytes;
    altered[70] ^= 1;
    assert_eq!(
        read(&altered).unwrap_err().to_string(),
        "the image is corrupt: its content does not match its digest"
    );
    let text = read(b"policy p for all pods").unwrap_err().to_string();
    assert_eq!(text, "this is not a map image: it does not begin with the format's magic number");
}
