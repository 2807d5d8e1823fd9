//! Keys of objects: written from ids, and read back strictly, so that one media has one key.

use porchlight_domain::MediaId;
use uuid::Uuid;

use crate::sweep::SHARDS;

/// The whole key of a media's object under a prefix: `{prefix}media/{media}`. Made of the media's id alone: no name that
/// somebody chose can lead elsewhere, and a URL does not tell a neighbor which clips are of one device.
pub(crate) fn name(prefix: &str, media: MediaId) -> String {
    format!("{}{media}", folder(prefix))
}

/// What a whole key says; `None` if it is not exactly as [`name`] writes it.
pub(crate) fn read(prefix: &str, key: &str) -> Option<MediaId> {
    let media = MediaId(Uuid::try_parse(key.strip_prefix(&folder(prefix))?).ok()?);
    (name(prefix, media) == key).then_some(media)
}

/// Where every object of ours is.
fn folder(prefix: &str) -> String {
    format!("{prefix}media/")
}

/// What the keys of a shard begin with; `None` if there is no such shard.
pub(crate) fn shard(prefix: &str, shard: u8) -> Option<String> {
    (shard < SHARDS).then(|| format!("{}{shard:x}", folder(prefix)))
}

/// Whether a whole key is one of ours to remove. A server that keeps objects as files may take `..` for the folder above.
pub(crate) fn is_ours(prefix: &str, name: &str) -> bool {
    name.strip_prefix(&folder(prefix))
        .is_some_and(|rest| !rest.is_empty() && rest.split('/').all(|part| !matches!(part, "." | "..")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_read_as_it_is_written_and_lies_in_one_shard(media in any::<u128>()) {
            let id = MediaId(Uuid::from_u128(media));
            for prefix in ["", "a/b/"] {
                let key = name(prefix, id);
                prop_assert_eq!(read(prefix, &key), Some(id));
                prop_assert!(is_ours(prefix, &key));
                let of: Vec<u8> = (0..SHARDS).filter(|s| key.starts_with(&shard(prefix, *s).unwrap())).collect();
                prop_assert_eq!(of, vec![u8::try_from(media >> 124).unwrap()]);
            }
        }

        #[test]
        fn any_other_text_is_no_key(key in any::<String>()) {
            prop_assert_eq!(read("", &key), None);
        }
    }

    #[test]
    fn a_key_has_one_spelling() {
        let id = "018f4e5a-0000-7000-8000-00000000000a";
        let key = format!("p/media/{id}");
        assert!(read("p/", &key).is_some());
        for other in [
            key.to_uppercase(),
            format!("p/media/{}", id.to_uppercase()),
            format!("p/media/{}", id.replace('-', "")),
            format!("p/media/{{{id}}}"),
            format!("{key}/"),
            format!("p/media//{id}"),
            format!("media/{id}"),
            "p/media/".to_owned(),
        ] {
            assert_eq!(read("p/", &other), None, "{other}");
        }
        assert_eq!(shard("", 16), None);
    }

    #[test]
    fn only_what_lies_under_media_is_ours() {
        assert!(is_ours("p/", "p/media/a"));
        for other in
            ["", "p/", "p/media", "p/media/", "media/a", "q/media/a", "p/media/../x", "p/media/a/./b", "/p/media/a"]
        {
            assert!(!is_ours("p/", other), "{other}");
        }
    }
}
