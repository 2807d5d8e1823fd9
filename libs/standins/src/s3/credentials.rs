//! The one key of the embedded server.

use std::{fmt, path::Path};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::elliptic_curve::rand_core::{OsRng, RngCore as _};

use crate::kept::kept;

/// What requests are signed with. `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Credentials {
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Fresh ones, by chance.
    pub fn random() -> Self {
        let random = |bytes: usize| {
            let mut random = vec![0; bytes];
            OsRng.fill_bytes(&mut random);
            URL_SAFE_NO_PAD.encode(random)
        };
        Self { access_key_id: format!("porchlight-{}", random(6)), secret_access_key: random(32) }
    }

    /// Those of `folder/credentials.json` (readable by its owner only), which is made first if there is none.
    ///
    /// # Errors
    /// A sentence that does not repeat what stands there: the file cannot be read or written, or holds no credentials.
    pub fn kept_in(folder: &Path) -> Result<Self, String> {
        let path = folder.join("credentials.json");
        let text = kept(&path, || serde_json::to_string(&Self::random()).map_err(|e| e.to_string()))?;
        serde_json::from_str(&text).map_err(|_| format!("{} holds no credentials", path.display()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn they_are_made_once_and_are_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = Credentials::kept_in(dir.path()).unwrap();
        assert_eq!(Credentials::kept_in(dir.path()).unwrap(), made);
        assert_ne!(Credentials::random(), made);
        let file = dir.path().join("credentials.json");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let shown = format!("{made:?}");
        assert!(!shown.contains(&made.secret_access_key) && made.secret_access_key.len() == 43, "{shown}");

        std::fs::write(&file, "a secret of another form").unwrap();
        let refused = Credentials::kept_in(dir.path()).unwrap_err();
        assert!(refused.ends_with("holds no credentials") && !refused.contains("secret"), "{refused}");
    }
}
