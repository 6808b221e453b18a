//! Finds a pod's interface by the route to its address, or, behind a bridge, by the bridge's forwarding
//! table.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use npc_node::Interface;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressScope};
use rtnetlink::packet_route::link::{
    InfoData, InfoGeneve, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};

/// An interface of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: String,
    /// Whether packets leave this machine or network namespace by it. False for the loopback device, bridges
    /// and IFB devices.
    pub(crate) is_exit: bool,
    /// Whether its packets begin with an Ethernet header.
    pub(crate) has_ethernet: bool,
    /// Whether its other end may be in a pod.
    pub(crate) may_be_pod: bool,
    /// The ifindex of the bridge that it is a port of.
    pub(crate) bridge: Option<u32>,
    /// The UDP port at which it receives tunnelled packets.
    pub(crate) tunnel_port: Option<u16>,
}

/// Why a pod's interface was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// The pod has no address yet.
    NoAddress,
    /// There is no route to the address.
    NoRoute(IpAddr),
    /// The route leads by way of another machine.
    Elsewhere(IpAddr),
    /// The route leads to an interface that is not a pod's: its name and its kind.
    NotAPods(IpAddr, String, String),
    /// The address is behind a bridge that has no forwarding entry for it.
    NotBehind(IpAddr, String),
    /// Any other reason, with its message.
    Another(String),
    /// The kernel did not answer or returned an error.
    Kernel(String),
}

impl NotFound {
    /// Whether the pod may be on another machine.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Elsewhere(_) | Self::NoRoute(_) | Self::NoAddress | Self::NotAPods(..))
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("it has no address yet"),
            Self::NoRoute(address) => write!(f, "there is no route to {address}"),
            Self::Elsewhere(address) => write!(f, "the route to {address} leads by way of another machine"),
            Self::NotAPods(address, name, kind) => {
                write!(f, "the route to {address} leads to {name} ({kind}), which is not a pod's interface")
            }
            Self::NotBehind(address, bridge) => {
                write!(
                    f,
                    "{address} is behind the bridge {bridge}, whose forwarding table has no entry for it"
                )
            }
            Self::Another(why) => f.write_str(why),
            Self::Kernel(why) => write!(f, "netlink: {why}"),
        }
    }
}

impl From<rtnetlink::Error> for NotFound {
    fn from(error: rtnetlink::Error) -> Self {
        Self::Kernel(error.to_string())
    }
}

/// A netlink handle to query routes, links and neighbours.
#[derive(Clone, Debug)]
pub(crate) struct Interfaces {
    handle: Handle,
}

/// Whether the other end of such a link is in a pod.
fn may_be_pod(kind: &InfoKind) -> bool {
    matches!(kind, InfoKind::Veth | InfoKind::Netkit)
}

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    let mut infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    infos.next()?.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

fn controller(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

/// The UDP port at which an interface receives tunnelled packets. WireGuard is omitted: it accepts only
/// packets that are encrypted for it.
fn tunnel_port(link: &LinkMessage) -> Option<u16> {
    let infos = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let data = infos.flatten().find_map(|info| match info {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    match (kind(link)?, data) {
        (InfoKind::Vxlan, Some(InfoData::Vxlan(options))) => options.iter().find_map(|option| match option {
            InfoVxlan::Port(port) => Some(*port),
            _ => None,
        }),
        (InfoKind::Geneve, Some(InfoData::Geneve(options))) => {
            let port = options.iter().find_map(|option| match option {
                InfoGeneve::Port(port) => Some(*port),
                _ => None,
            });
            port.or(Some(GENEVE))
        }
        (InfoKind::Geneve, _) => Some(GENEVE),
        _ => None,
    }
}

/// The port of Geneve (RFC 8926).
const GENEVE: u16 = 6081;

/// The timeout of a netlink request. The kernel normally answers within microseconds.
const ANSWER: Duration = Duration::from_secs(5);

/// Adds a timeout to a netlink request, because responses can be lost. Callers retry.
async fn answered<T>(asked: impl Future<Output = Result<T, NotFound>>) -> Result<T, NotFound> {
    let none = || NotFound::Kernel(format!("no answer within {} seconds", ANSWER.as_secs()));
    tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(none()))
}

impl Interfaces {
    pub(crate) const fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The host end of the interface of the pod with these addresses.
    pub(crate) async fn find(&self, addresses: &[IpAddr]) -> Result<Interface, NotFound> {
        let mut why = NotFound::NoAddress;
        for address in addresses {
            match answered(self.find_one(*address)).await {
                Ok(interface) => return Ok(interface),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn find_one(&self, address: IpAddr) -> Result<Interface, NotFound> {
        let route = self.route(address).await?;
        let mut out = None;
        for attribute in &route.attributes {
            match attribute {
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => {
                    return Err(NotFound::Elsewhere(address));
                }
                RouteAttribute::Oif(index) => out = Some(*index),
                _ => {}
            }
        }
        let index = out.ok_or(NotFound::NoRoute(address))?;
        let link = self.link(index).await?.ok_or(NotFound::NoRoute(address))?;
        let link_name = name(&link).unwrap_or_default();
        match kind(&link) {
            Some(kind) if may_be_pod(kind) => Ok(Interface { index, name: link_name }),
            Some(InfoKind::Bridge) => self.behind(address, index, link_name).await,
            kind => {
                let kind = kind.map_or_else(|| "a device".to_owned(), ToString::to_string);
                Err(NotFound::NotAPods(address, link_name, kind))
            }
        }
    }

    async fn route(&self, address: IpAddr) -> Result<RouteMessage, NotFound> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let request = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(address, length)
            .map_err(|why| NotFound::Kernel(why.to_string()))?
            .build();
        let mut routes = std::pin::pin!(self.handle.route().get(request).execute());
        match routes.try_next().await {
            Ok(Some(route)) => Ok(route),
            // The kernel returns an error if there is no route.
            Ok(None) | Err(_) => Err(NotFound::NoRoute(address)),
        }
    }

    async fn link(&self, index: u32) -> Result<Option<LinkMessage>, NotFound> {
        let mut links = std::pin::pin!(self.handle.link().get().match_index(index).execute());
        Ok(links.try_next().await.unwrap_or(None))
    }

    /// The port of a bridge behind which an address is.
    async fn behind(&self, address: IpAddr, bridge: u32, name_of: String) -> Result<Interface, NotFound> {
        for attempt in 0..2 {
            if attempt > 0 {
                // An empty packet to the `discard` port makes the kernel resolve the address. An owner on
                // this machine answers at once; otherwise the search is repeated later.
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let _ = UdpSocket::bind(any).and_then(|socket| socket.send_to(&[], (address, 9)));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let own = |entry: &NeighbourMessage| {
                entry.header.ifindex == bridge
                    && entry.attributes.iter().any(|attribute| match attribute {
                        NeighbourAttribute::Destination(NeighbourAddress::Inet(own)) => {
                            IpAddr::V4(*own) == address
                        }
                        NeighbourAttribute::Destination(NeighbourAddress::Inet6(own)) => {
                            IpAddr::V6(*own) == address
                        }
                        _ => false,
                    })
            };
            let station = self.neighbours(family).await?.iter().find(|entry| own(entry)).and_then(station);
            let Some(station) = station else { continue };
            let ports = self.neighbours(AddressFamily::Bridge).await?;
            for port in ports.iter().filter(|entry| station_is(entry, &station)) {
                let Some(link) = self.link(port.header.ifindex).await? else { continue };
                if kind(&link).is_some_and(may_be_pod) {
                    let name = name(&link).unwrap_or_default();
                    return Ok(Interface { index: port.header.ifindex, name });
                }
            }
        }
        Err(NotFound::NotBehind(address, name_of))
    }

    async fn neighbours(&self, family: AddressFamily) -> Result<Vec<NeighbourMessage>, NotFound> {
        let request = self.handle.neighbours().get().set_address_family(family);
        Ok(request.execute().try_collect().await?)
    }

    /// All interfaces of this machine, by ifindex.
    pub(crate) async fn all(&self) -> Result<HashMap<u32, Link>, NotFound> {
        let links = self.handle.link().get().execute().try_collect::<Vec<LinkMessage>>();
        let links = answered(async { Ok(links.await?) }).await?;
        let of = |link: &LinkMessage| {
            // A bridge's packets leave by its ports. An IFB device returns packets to the stack, and they are
            // translated only afterwards.
            let passes_on = matches!(kind(link), Some(InfoKind::Bridge | InfoKind::Ifb));
            let is_exit = !link.header.flags.contains(LinkFlags::Loopback) && !passes_on;
            let has_ethernet = link.header.link_layer_type == LinkLayerType::Ether;
            let may_be_pod = kind(link).is_some_and(may_be_pod);
            let (bridge, tunnel_port) = (controller(link), tunnel_port(link));
            let name = name(link)?;
            Some((link.header.index, Link { name, is_exit, has_ethernet, may_be_pod, bridge, tunnel_port }))
        };
        let mut all: HashMap<u32, Link> = links.iter().filter_map(of).collect();
        let is_bridge = |link: &&LinkMessage| matches!(kind(link), Some(InfoKind::Bridge));
        let bridges: HashSet<u32> = links.iter().filter(is_bridge).map(|link| link.header.index).collect();
        for link in all.values_mut() {
            link.bridge = link.bridge.filter(|bridge| bridges.contains(bridge));
        }
        Ok(all)
    }

    /// The addresses of this machine: first those that other machines can reach, then all, including
    /// link-local and broadcast addresses.
    pub(crate) async fn own_addresses(&self) -> Result<(Vec<IpAddr>, HashSet<IpAddr>), NotFound> {
        let all = self.handle.address().get().execute().try_collect::<Vec<_>>();
        let all = answered(async { Ok(all.await?) }).await?;
        let mut addresses: Vec<IpAddr> = Vec::new();
        let every = all.iter().flat_map(|message| &message.attributes);
        let every = every.filter_map(|attribute| match attribute {
            AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
            AddressAttribute::Broadcast(address) => Some(IpAddr::V4(*address)),
            _ => None,
        });
        let every = every.collect();
        for message in all.iter().filter(|message| message.header.scope == AddressScope::Universe) {
            let of = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            };
            let other = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            };
            let local = message.attributes.iter().find_map(of);
            addresses.extend(local.or_else(|| message.attributes.iter().find_map(other)));
        }
        addresses.sort_unstable();
        addresses.dedup();
        Ok((addresses, every))
    }
}

fn station(entry: &NeighbourMessage) -> Option<Vec<u8>> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(station) => Some(station.clone()),
        _ => None,
    })
}

fn station_is(entry: &NeighbourMessage, own: &[u8]) -> bool {
    station(entry).as_deref() == Some(own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A netlink connection that is not polled never answers.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let (_silent, handle, _) = rtnetlink::new_connection().unwrap();
        let interfaces = Interfaces::new(handle);
        let why = NotFound::Kernel("no answer within 5 seconds".to_owned());
        assert_eq!(interfaces.all().await.unwrap_err(), why);
        assert_eq!(interfaces.own_addresses().await.unwrap_err(), why);
        assert_eq!(interfaces.find(&["10.0.0.1".parse().unwrap()]).await.unwrap_err(), why);
    }
}
