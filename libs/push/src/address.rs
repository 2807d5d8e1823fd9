//! Which addresses a push may go to. A user chooses the URL, so without this guard anyone could make the sender speak to
//! what lies behind it (server-side request forgery): databases, metadata services, other pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Whether an address is globally routable unicast: what the IANA special-purpose registries (RFC 6890 and its
/// successors) leave. An IPv6 form that embeds an IPv4 address (mapped, NAT64, 6to4) is judged by what it embeds.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0, ..)                        // this network, 0.0.0.0 among it (RFC 791)
            | (10, ..)                 // private (RFC 1918)
            | (100, 64..=127, _)       // carrier-grade NAT (RFC 6598)
            | (127, ..)                // loopback
            | (169, 254, _)            // link-local, where clouds keep their metadata (RFC 3927)
            | (172, 16..=31, _)        // private
            | (192, 0, 0)              // IETF protocol assignments (RFC 6890)
            | (192, 0, 2)              // documentation (RFC 5737)
            | (192, 88, 99)            // 6to4 relays, gone (RFC 7526)
            | (192, 168, _)            // private
            | (198, 18..=19, _)        // benchmarking (RFC 2544)
            | (198, 51, 100)           // documentation
            | (203, 0, 113)            // documentation
            | (224.., ..) // multicast, reserved, broadcast
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // IPv4-mapped (RFC 4291).
        [0, 0, 0, 0, 0, 0xffff, high, low] => embedded(high, low),
        // NAT64's well-known prefix (RFC 6052). Its local one, 64:ff9b:1::/48, falls under the last arm.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => embedded(high, low),
        // IETF protocol assignments: Teredo, benchmarking, ORCHID and their like (RFC 2928).
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation (RFC 3849, RFC 9637).
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Of the rest only 2000::/3 is handed out as global unicast: not `::`, `::1`, fc00::/7, fe80::/10, ff00::/8.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// A name or a literal led nowhere but to addresses that are not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocked;

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the address is not public")
    }
}

impl std::error::Error for Blocked {}

/// Resolves as the system does, and drops what is not public. The connection is made to exactly the addresses that were
/// judged here, so a name that resolves differently a moment later (DNS rebinding) gains nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept = keep_public(found)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// The public ones; an error if there were some and none of them is.
fn keep_public(found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Blocked> {
    let (public, rest): (Vec<_>, Vec<_>) = found.partition(|address| is_public(address.ip()));
    if public.is_empty() && !rest.is_empty() { Err(Blocked) } else { Ok(public) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    /// First and last address of each range that is refused, and their neighbors outside where those are public.
    #[test]
    fn each_special_range_ends_where_its_rfc_says() {
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "255.255.255.255"),
        ] {
            let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(!is_public(first.into()) && !is_public(last.into()), "{first} to {last}");
            let before = u32::from(first).checked_sub(1).map(Ipv4Addr::from);
            let after = u32::from(last).checked_add(1).map(Ipv4Addr::from);
            for outside in before.into_iter().chain(after) {
                assert!(is_public(outside.into()), "{outside}");
            }
        }
    }

    #[test]
    fn what_the_internet_routes_is_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "142.250.0.1",
            "192.0.1.1",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "2001:200::1",
            "2620:4f:8000::1",
            "3ffe::1",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn what_ipv6_keeps_for_itself_is_not() {
        for address in [
            "::",
            "::1",
            "::7f00:1",
            "::8.8.8.8",
            "100::1",
            "64:ff9b:1::808:808",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "ffff::1",
        ] {
            assert!(!public(address), "{address}");
        }
    }

    #[test]
    fn an_embedded_address_decides() {
        for (private, routed) in [
            ("::ffff:127.0.0.1", "::ffff:8.8.8.8"),
            ("::ffff:169.254.169.254", "::ffff:1.1.1.1"),
            ("64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8"),
            ("2002:7f00:1::1", "2002:808:808::1"),
            ("2002:a9fe:a9fe::", "2002:101:101::"),
        ] {
            assert!(!public(private), "{private}");
            assert!(public(routed), "{routed}");
        }
    }

    proptest! {
        #[test]
        fn every_embedding_agrees_with_what_it_embeds(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            let (high, low) = ((bits >> 16) as u16, (bits & 0xffff) as u16);
            let expected = is_public(v4.into());
            prop_assert_eq!(is_public(v4.to_ipv6_mapped().into()), expected);
            prop_assert_eq!(is_public(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()), expected);
            prop_assert_eq!(is_public(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into()), expected);
            // The standard library's own judgment, as far as it goes.
            if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_unspecified() {
                prop_assert_eq!(expected, false);
            }
        }

        #[test]
        fn what_the_standard_library_knows_as_special_is_not_public(bits in any::<u128>()) {
            for v6 in [Ipv6Addr::from(bits), Ipv6Addr::from(bits | 0xfc << 120)] {
                if v6.is_multicast() || v6.is_unique_local() || v6.is_unicast_link_local() {
                    prop_assert_eq!(is_public(v6.into()), false);
                }
            }
        }
    }

    #[test]
    fn of_a_mixed_answer_the_public_part_is_kept() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = parse(&["127.0.0.1:0", "8.8.8.8:0", "[::1]:0"]);
        assert_eq!(keep_public(mixed.into_iter()), Ok(parse(&["8.8.8.8:0"])));
        assert_eq!(keep_public(parse(&["10.0.0.1:0"]).into_iter()), Err(Blocked));
        assert_eq!(keep_public(std::iter::empty()), Ok(Vec::new()), "a name without addresses is no attack");
    }

    #[tokio::test]
    async fn a_name_for_loopback_resolves_to_nothing() {
        let Err(error) = PublicOnly.resolve("localhost".parse().unwrap()).await else {
            panic!("localhost must not resolve")
        };
        assert!(error.downcast_ref::<Blocked>().is_some(), "{error}");
    }
}
