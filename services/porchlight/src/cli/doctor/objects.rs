//! What is to be thought of a store of objects. Pure: nothing is asked here.

use super::finding::Finding;

/// What became of an upload as a camera would make it, by a presigned URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Trial {
    /// It was taken, was what it should be, and is gone again.
    Taken,
    /// It was taken, and then something went wrong: what.
    TakenBut(String),
    /// It was not taken: the status, and the server's code for why, if it gave one.
    Refused(u16, Option<String>),
    /// Nobody could be asked: why.
    Away(String),
    /// No URL could be made: why.
    NoUrl(String),
}

/// Whether the bucket is there and is ours.
pub(super) fn bucket(name: &str, endpoint: &str, answer: &Result<(), String>) -> Finding {
    let what = format!("bucket {name}");
    match answer {
        Ok(()) => Finding::ok(what, format!("it is there, at {endpoint}")),
        Err(said) => {
            let todo = if said.contains("404") {
                "it does not exist: make it, or correct s3.bucket"
            } else if said.contains("403") || said.contains("401") {
                "s3.access_key_id and its secret are refused: correct them, or let them use this bucket"
            } else {
                "it cannot be asked: is s3.endpoint where it is?"
            };
            Finding::fail(what, format!("{todo} ({said})"))
        }
    }
}

/// Whether a camera could upload. `is_own`: whether cameras reach it by another way than services.
pub(super) fn upload(endpoint: &str, is_own: bool, trial: &Trial) -> Finding {
    let what = "presigned upload";
    let key = if is_own { "s3.public_endpoint" } else { "s3.endpoint" };
    match trial {
        Trial::Taken if is_own => Finding::ok(what, format!("a camera can upload, by {endpoint}")),
        Trial::Taken => Finding::warn(
            what,
            format!(
                "it works by {endpoint}, which is s3.endpoint: set s3.public_endpoint if cameras cannot reach that"
            ),
        ),
        Trial::TakenBut(why) => Finding::fail(what, format!("{endpoint} took it, and then: {why}")),
        Trial::Refused(status, code) => {
            let said = code.as_deref().map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
            let todo = match (code.as_deref(), *status) {
                (Some("SignatureDoesNotMatch"), _) => {
                    "the signature covers the host name: whatever stands there must pass the header Host on as it came, \
                     and every header of the request"
                }
                (Some("RequestTimeTooSkewed" | "AccessDenied"), 403) => {
                    "the clocks differ, or the key may not write: set both clocks (NTP), and let the key put objects"
                }
                (Some("NotImplemented"), _) => "the server does not know If-None-Match or x-amz-checksum-sha256",
                (_, 405 | 501) => "what stands there takes no PUT: it is no S3, or does not pass it on",
                (_, 413) => "what stands there takes no body of this size: raise its limit to 64 MiB",
                (_, 301 | 302 | 307 | 308) => "it sends elsewhere: name that place, cameras do not follow",
                _ => "what stands there refuses it",
            };
            Finding::fail(what, format!("{key} ({endpoint}) answers {said}: {todo}"))
        }
        Trial::Away(why) => Finding::fail(what, format!("{key} ({endpoint}) cannot be reached from here: {why}")),
        Trial::NoUrl(why) => Finding::fail(what, why),
    }
}

/// The code of an S3 error document; nothing else of it is looked at.
pub(super) fn code(document: &str) -> Option<String> {
    let (_, rest) = document.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let is_code = (1..=64).contains(&code.len()) && code.chars().all(|c| c.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Verdict;

    #[test]
    fn a_bucket_says_which_setting_is_wrong() {
        let of = |answer: Result<(), &str>| bucket("clips", "https://s3", &answer.map_err(str::to_owned));
        assert_eq!(of(Ok(())).verdict, Verdict::Ok);
        for (said, says) in [
            ("status 404", "s3.bucket"),
            ("status 403, SignatureDoesNotMatch", "s3.access_key_id"),
            ("no connection, or it broke", "s3.endpoint"),
        ] {
            let finding = of(Err(said));
            assert!(finding.verdict == Verdict::Fail && finding.sentence.contains(says), "{finding:?}");
        }
    }

    #[test]
    fn an_upload_says_what_stands_in_its_way() {
        let refused = |status, code: &str| Trial::Refused(status, (!code.is_empty()).then(|| code.to_owned()));
        for (trial, says) in [
            (refused(403, "SignatureDoesNotMatch"), "the header Host"),
            (refused(403, "RequestTimeTooSkewed"), "clocks"),
            (refused(405, ""), "takes no PUT"),
            (refused(413, ""), "64 MiB"),
            (refused(302, ""), "cameras do not follow"),
            (refused(400, "Strange"), "400 Strange"),
            (Trial::Away("no route".into()), "cannot be reached from here: no route"),
            (Trial::NoUrl("no URL can be made".into()), "no URL"),
            (Trial::TakenBut("another hash".into()), "another hash"),
        ] {
            let finding = upload("https://clips", true, &trial);
            assert!(finding.verdict == Verdict::Fail && finding.sentence.contains(says), "{finding:?}");
        }
        assert_eq!(upload("https://clips", true, &Trial::Taken).verdict, Verdict::Ok);
        assert_eq!(upload("http://s3", false, &Trial::Taken).verdict, Verdict::Warn, "cameras may not reach it");
    }

    #[test]
    fn only_a_code_is_read_of_an_error() {
        let error = "<?xml?><Error><Code>AccessDenied</Code><Message>AKIA...</Message></Error>";
        assert_eq!(code(error).as_deref(), Some("AccessDenied"));
        for strange in ["", "<Code>", "<Code></Code>", "<Code>a key: AKIA</Code>"] {
            assert_eq!(code(strange), None);
        }
    }
}
