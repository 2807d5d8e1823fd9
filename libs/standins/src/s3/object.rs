//! An object's file: its bytes, then what is known of them as JSON, then the length of that and a mark. One file comes
//! into place by one rename, so bytes and knowledge cannot disagree, whatever moment the process ends in.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempPath;

/// The last bytes of a file that is an object of ours, of this form.
const MARK: &[u8; 8] = b"plobject";
/// The length of what follows the JSON: its own length and the mark.
const END: usize = 4 + MARK.len();
/// The longest JSON. A request's headers and key are shorter by far.
const MAX_ABOUT: u64 = 256 * 1024;

/// What whoever puts an object says of it.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// What is known of an object besides its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) key: String,
    pub(super) bytes: u64,
    /// Base64, as in `x-amz-checksum-sha256`. It is the ETag too: one that nobody takes for an MD5.
    pub(super) sha256: String,
    /// ms since the Unix epoch.
    pub(super) put_at: i64,
    pub(super) said: Said,
}

impl About {
    /// Reads it from an object's file, and proves that the file is as long as it says.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let no_object = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let all = file.metadata()?.len();
        let end = all.checked_sub(END as u64).ok_or_else(|| no_object("it is too short"))?;
        let mut last = [0; END];
        file.read_exact_at(&mut last, end)?;
        let [a, b, c, d, mark @ ..] = last;
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        let bytes = end.checked_sub(length).filter(|_| mark == *MARK && length <= MAX_ABOUT);
        let bytes = bytes.ok_or_else(|| no_object("it does not end as an object does"))?;
        let mut json = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut json, bytes)?;
        let about: Self = serde_json::from_slice(&json)?;
        if about.bytes == bytes { Ok(about) } else { Err(no_object("it is not as long as it says")) }
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        let mut end = serde_json::to_vec(self)?;
        let length = u32::try_from(end.len()).ok().filter(|length| u64::from(*length) <= MAX_ABOUT);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        end.extend(length.to_be_bytes());
        end.extend(MARK);
        file.write_all(&end)
    }
}

/// The name of an object's file. Nothing of a key reaches the file system, whatever stands in it; that it is the right
/// one, the key inside says.
pub(super) fn file_name(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An object on its way: bytes in a temporary file, counted and hashed. Dropped, it is gone.
pub(super) struct Upload {
    file: File,
    temp: TempPath,
    sha256: Sha256,
    bytes: u64,
}

impl Upload {
    pub(super) fn begin(folder: &std::path::Path) -> io::Result<Self> {
        let (file, temp) = tempfile::Builder::new().prefix("put-").tempfile_in(folder)?.into_parts();
        Ok(Self { file, temp, sha256: Sha256::new(), bytes: 0 })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.sha256.update(piece);
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// Base64.
    pub(super) fn sha256(&self) -> String {
        STANDARD.encode(self.sha256.clone().finalize())
    }

    /// Writes what is known behind the bytes, and brings all of it to the disk. What is left is to give it its name.
    pub(super) fn finish(mut self, key: String, said: Said) -> io::Result<(TempPath, About)> {
        let put_at = jiff::Timestamp::now().as_millisecond();
        let about = About { key, bytes: self.bytes, sha256: self.sha256(), put_at, said };
        about.write(&mut self.file)?;
        self.file.sync_all()?;
        Ok((self.temp, about))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn whole() -> (tempfile::TempDir, std::path::PathBuf, About) {
        let dir = tempfile::tempdir().unwrap();
        let mut upload = Upload::begin(dir.path()).unwrap();
        upload.write(b"some ").unwrap();
        upload.write(b"bytes").unwrap();
        let said = Said { content_type: Some("video/mp4".into()), ..Said::default() };
        let (temp, about) = upload.finish("a/b".into(), said).unwrap();
        let path = dir.path().join("object");
        temp.persist(&path).unwrap();
        (dir, path, about)
    }

    #[test]
    fn what_is_known_is_read_as_it_was_written() {
        let (_dir, path, about) = whole();
        assert_eq!(About::read(&File::open(&path).unwrap()).unwrap(), about);
        assert_eq!((about.bytes, &*about.sha256), (10, &*STANDARD.encode(Sha256::digest(b"some bytes"))));
        assert!(std::fs::read(path).unwrap().starts_with(b"some bytes{"));
    }

    #[test]
    fn a_file_that_was_cut_or_grew_anywhere_is_no_object() {
        let (dir, path, _) = whole();
        let bytes = std::fs::read(path).unwrap();
        let changed = dir.path().join("changed");
        let refused = |bytes: &[u8]| {
            std::fs::write(&changed, bytes).unwrap();
            About::read(&File::open(&changed).unwrap()).is_err()
        };
        for length in 0..bytes.len() {
            assert!(refused(&bytes[..length]), "cut to {length}");
            assert!(refused(&bytes[bytes.len() - length..]), "the last {length}");
        }
        assert!(refused(&[b"x", &*bytes].concat()) && refused(&[&*bytes, b"x"].concat()));
        assert!(!refused(&bytes));
    }

    #[test]
    fn an_upload_that_is_dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut upload = Upload::begin(dir.path()).unwrap();
        upload.write(b"half").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        drop(upload);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
