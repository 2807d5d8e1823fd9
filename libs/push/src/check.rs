//! What an endpoint must look like, at registration and again at every send.

use std::net::IpAddr;

use p256::PublicKey;
use porchlight_domain::Transport;
use reqwest::Url;

use crate::{PushConfig, is_public};

/// The longest URL of a push resource.
const MAX_URL_BYTES: usize = 1024;
/// The longest fcm token; real ones have about 160 characters.
const MAX_FCM_TOKEN: usize = 1024;
/// The fewest and the most hexadecimal digits of an apns token; today's have 64, and Apple says they may grow.
const APNS_TOKEN: std::ops::RangeInclusive<usize> = 64..=200;
/// Suffixes of names that never leave a site or a machine (RFC 6761, 6762, 8375, ICANN's `internal`).
const LOCAL_SUFFIXES: [&str; 5] = ["localhost", "local", "internal", "localdomain", "home.arpa"];

/// A refusal: (stable code, JSON pointer relative to the transport object, sentence).
type Refusal = (&'static str, &'static str, String);

/// Checks an endpoint as a user gives it, before it is stored: the URL's form (https, no credentials, no fragment, at most
/// 1 KiB, port 443 or from 1024 up, no literal private address unless allowed), that the key is a point on P-256, key
/// lengths, token alphabets. What a name resolves to is checked at every send.
///
/// # Errors
/// (stable code, JSON pointer relative to the transport object, sentence). Codes: `push_url_invalid`,
/// `push_url_not_https`, `push_url_private`, `p256dh_invalid`, `auth_invalid`, `token_invalid`,
/// `transport_not_configured`.
pub fn check_transport(transport: &Transport, config: &PushConfig) -> Result<(), Refusal> {
    match transport {
        Transport::WebPush { url, p256dh, auth } => {
            push_url(url, config.allow_private_addresses)
                .map_err(|(code, sentence)| (code, "/url", sentence.to_owned()))?;
            if !is_receiver_key(p256dh) {
                let sentence = "p256dh is an uncompressed point on P-256, 65 bytes";
                return Err(("p256dh_invalid", "/p256dh", sentence.to_owned()));
            }
            if auth.len() != 16 {
                return Err(("auth_invalid", "/auth", "auth is 16 bytes".to_owned()));
            }
            Ok(())
        }
        Transport::Fcm { token } => {
            configured(transport, config)?;
            let of_alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b':');
            if (1..=MAX_FCM_TOKEN).contains(&token.len()) && token.bytes().all(of_alphabet) {
                Ok(())
            } else {
                Err(token_invalid("an fcm token is 1 to 1024 of the characters A-Z a-z 0-9 - _ :"))
            }
        }
        Transport::Apns { token, sandbox: _ } => {
            configured(transport, config)?;
            if APNS_TOKEN.contains(&token.len()) && token.len() % 2 == 0 && token.bytes().all(|b| b.is_ascii_hexdigit())
            {
                Ok(())
            } else {
                Err(token_invalid("an apns token is 64 to 200 hexadecimal digits, in pairs"))
            }
        }
    }
}

fn configured(transport: &Transport, config: &PushConfig) -> Result<(), Refusal> {
    if config.recorder_url.is_empty() {
        let sentence = format!("this deployment sends nothing through {}", transport.as_str());
        return Err(("transport_not_configured", "", sentence));
    }
    Ok(())
}

fn token_invalid(sentence: &str) -> Refusal {
    ("token_invalid", "/token", sentence.to_owned())
}

/// Whether it can be a receiver's key: an uncompressed point on the curve (RFC 8291, section 2.1).
pub(crate) fn is_receiver_key(p256dh: &[u8]) -> bool {
    p256dh.len() == 65 && PublicKey::from_sec1_bytes(p256dh).is_ok()
}

/// Reads the URL of a push resource; (code, sentence) if it may not be one. A host that is a literal address in whatever
/// notation (`0x7f.1`, `2130706433`, `[::ffff:127.0.0.1]`) is judged here, for it never meets a resolver.
pub(crate) fn push_url(text: &str, allow_private: bool) -> Result<Url, (&'static str, &'static str)> {
    const INVALID: &str = "push_url_invalid";
    if text.len() > MAX_URL_BYTES {
        return Err((INVALID, "the URL is at most 1024 bytes"));
    }
    // The parser would drop tabs and line ends silently: what is stored is what was judged.
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err((INVALID, "the URL is printable ASCII without spaces"));
    }
    let url = Url::parse(text).map_err(|_| (INVALID, "this is no absolute URL"))?;
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        _ => return Err(("push_url_not_https", "the URL is https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err((INVALID, "the URL holds no credentials"));
    }
    if url.fragment().is_some() {
        return Err((INVALID, "the URL has no fragment"));
    }
    let host = url.host_str().ok_or((INVALID, "the URL names a host"))?;
    if !allow_private {
        // 443, or where people without root run their own server. 22, 25 and their like are never a push resource.
        match url.port() {
            None | Some(1024..) => {}
            Some(_) => return Err((INVALID, "the port is 443 or from 1024 up")),
        }
        if is_local(host) {
            return Err(("push_url_private", "the URL names a host that is not public"));
        }
    }
    Ok(url)
}

/// Whether a host, as the parser normalized it, is a literal address that is not public or a name of no public zone.
fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return !is_public(address);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    !name.contains('.')
        || LOCAL_SUFFIXES
            .iter()
            .any(|suffix| name.strip_suffix(suffix).is_some_and(|front| front.is_empty() || front.ends_with('.')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use p256::{SecretKey, elliptic_curve::rand_core::OsRng, elliptic_curve::sec1::ToEncodedPoint};

    use super::*;

    fn config(allow_private_addresses: bool, recorder_url: &str) -> PushConfig {
        PushConfig {
            vapid_private_key: String::new(),
            vapid_private_key_file: String::new(),
            vapid_subject: String::new(),
            timeout_ms: 1000,
            allow_private_addresses,
            recorder_url: recorder_url.to_owned(),
        }
    }

    fn point(compress: bool) -> Vec<u8> {
        SecretKey::random(&mut OsRng).public_key().to_encoded_point(compress).as_bytes().to_vec()
    }

    fn web_push(url: &str) -> Transport {
        Transport::WebPush { url: url.to_owned(), p256dh: point(false), auth: vec![7; 16] }
    }

    fn code(transport: &Transport, config: &PushConfig) -> (&'static str, &'static str) {
        check_transport(transport, config).map_or_else(|(code, pointer, _)| (code, pointer), |()| ("ok", ""))
    }

    #[test]
    fn urls_of_real_push_services_pass() {
        for url in [
            "https://fcm.googleapis.com/fcm/send/c1:APA91b-_x",
            "https://updates.push.services.mozilla.com/wpush/v2/gAAAAA",
            "https://web.push.apple.com/QGuQ",
            "https://ntfy.example.org:8443/up?up=1",
            "https://1.1.1.1/push",
            "https://[2606:4700:4700::1111]/push",
        ] {
            assert_eq!(code(&web_push(url), &config(false, "")).0, "ok", "{url}");
        }
    }

    #[test]
    fn every_other_url_is_refused_with_its_code() {
        let long = format!("https://push.example.org/{}", "x".repeat(1000));
        for (url, expected) in [
            ("http://push.example.org/x", "push_url_not_https"),
            ("ftp://push.example.org/x", "push_url_not_https"),
            ("", "push_url_invalid"),
            ("/push", "push_url_invalid"),
            ("https://", "push_url_invalid"),
            ("https://user@push.example.org/", "push_url_invalid"),
            ("https://:secret@push.example.org/", "push_url_invalid"),
            ("https://push.example.org/#x", "push_url_invalid"),
            ("https://push.example.org/a b", "push_url_invalid"),
            ("https://push.exa\nmple.org/", "push_url_invalid"),
            ("https://push.example.org:22/", "push_url_invalid"),
            ("https://push.example.org:0/", "push_url_invalid"),
            ("https://push.example.org:80/", "push_url_invalid"),
            (&long, "push_url_invalid"),
            ("https://localhost/x", "push_url_private"),
            ("https://LOCALHOST./x", "push_url_private"),
            ("https://a.localhost/x", "push_url_private"),
            ("https://kafka:9092/x", "push_url_private"),
            ("https://printer.local/x", "push_url_private"),
            ("https://metadata.google.internal/x", "push_url_private"),
            ("https://127.0.0.1/x", "push_url_private"),
            ("https://127.0.0.1./x", "push_url_private"),
            ("https://127.1/x", "push_url_private"),
            ("https://0x7f.1/x", "push_url_private"),
            ("https://2130706433/x", "push_url_private"),
            ("https://0177.0.0.1/x", "push_url_private"),
            ("https://%31%32%37.0.0.1/x", "push_url_private"),
            ("https://169.254.169.254/latest/meta-data", "push_url_private"),
            ("https://10.1.2.3/x", "push_url_private"),
            ("https://0.0.0.0/x", "push_url_private"),
            ("https://[::1]/x", "push_url_private"),
            ("https://[::ffff:127.0.0.1]/x", "push_url_private"),
            ("https://[::ffff:7f00:1]/x", "push_url_private"),
            ("https://[fd00::1]/x", "push_url_private"),
            ("https://[64:ff9b::7f00:1]/x", "push_url_private"),
        ] {
            assert_eq!(code(&web_push(url), &config(false, "")), (expected, "/url"), "{url:?}");
        }
    }

    #[test]
    fn the_test_setting_allows_loopback_and_http_and_no_more() {
        let config = config(true, "");
        for url in ["http://127.0.0.1:80/x", "https://localhost:1/x", "http://[::1]:8080/x"] {
            assert_eq!(code(&web_push(url), &config).0, "ok", "{url}");
        }
        assert_eq!(code(&web_push("ftp://127.0.0.1/x"), &config).0, "push_url_not_https");
        assert_eq!(code(&web_push("http://u@127.0.0.1/x"), &config).0, "push_url_invalid");
    }

    #[test]
    fn a_key_is_a_point_on_the_curve() {
        let with = |p256dh: Vec<u8>, auth: Vec<u8>| Transport::WebPush {
            url: "https://push.example.org/x".to_owned(),
            p256dh,
            auth,
        };
        let mut off_curve = point(false);
        off_curve[64] ^= 1;
        for bad in [vec![], vec![4; 65], off_curve, point(true), point(false)[..64].to_vec()] {
            assert_eq!(code(&with(bad, vec![0; 16]), &config(false, "")), ("p256dh_invalid", "/p256dh"));
        }
        for length in [0, 15, 17] {
            assert_eq!(code(&with(point(false), vec![0; length]), &config(false, "")), ("auth_invalid", "/auth"));
        }
    }

    #[test]
    fn tokens_have_their_alphabets() {
        let fcm = |token: &str| Transport::Fcm { token: token.to_owned() };
        let apns = |token: &str| Transport::Apns { token: token.to_owned(), sandbox: false };
        let recorder = config(true, "http://127.0.0.1:1/recorder");
        assert_eq!(code(&fcm("c1:APA91b-_x"), &recorder).0, "ok");
        assert_eq!(code(&apns(&"0aF9".repeat(16)), &recorder).0, "ok");
        for bad in [fcm(""), fcm("a b"), fcm("a/b"), fcm(&"x".repeat(1025))] {
            assert_eq!(code(&bad, &recorder), ("token_invalid", "/token"));
        }
        for bad in
            [apns(""), apns(&"0".repeat(63)), apns(&"0".repeat(65)), apns(&"g".repeat(64)), apns(&"0".repeat(202))]
        {
            assert_eq!(code(&bad, &recorder), ("token_invalid", "/token"));
        }
        assert_eq!(code(&fcm("abc"), &config(true, "")), ("transport_not_configured", ""));
        assert_eq!(code(&apns(&"00".repeat(32)), &config(true, "")), ("transport_not_configured", ""));
    }
}
