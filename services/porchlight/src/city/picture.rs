//! Thumbnails: real PNGs of a hundred bytes, each with a text of its own so that no two are the same.

use crate::client::MediaFile;

/// A thumbnail that says `text` (in a `tEXt` chunk: PNG, third edition, 11.3.3.3).
pub(super) fn thumbnail(text: &str) -> MediaFile {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    // One pixel, eight bits of grey.
    chunk(&mut bytes, b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0");
    chunk(&mut bytes, b"tEXt", &[b"Comment\0", text.as_bytes()].concat());
    // zlib of the one line, not compressed: no filter, and a middle grey; then its Adler-32.
    chunk(&mut bytes, b"IDAT", b"\x78\x01\x01\x02\0\xfd\xff\0\x80\0\x82\0\x81");
    chunk(&mut bytes, b"IEND", b"");
    MediaFile { kind: "thumbnail", content_type: "image/png", bytes }
}

fn chunk(png: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
    png.extend(u32::try_from(data.len()).expect("a short chunk").to_be_bytes());
    let from = png.len();
    png.extend(kind);
    png.extend(data);
    png.extend(crc32(&png[from..]).to_be_bytes());
}

/// CRC-32 as PNG has it (annex D of the specification), bit by bit: the inputs are short.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_carries_the_checksum_that_every_reader_expects() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let png = thumbnail("a").bytes;
        assert_eq!(png[png.len() - 12..], *b"\0\0\0\0IEND\xae\x42\x60\x82");
    }

    #[test]
    fn each_text_makes_another_picture() {
        assert_ne!(thumbnail("a").sha256(), thumbnail("b").sha256());
        assert_eq!(thumbnail("a"), thumbnail("a"));
    }
}
