//! What a failure means: one function over every status, one over everything else. No text holds a URL, a key or a
//! secret: of the server's words only its error code is kept.

use std::error::Error;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::VaultError;

/// Why a request got no answer that could be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// There is no such object.
    Missing,
    /// Away or overloaded.
    Unavailable(String),
    /// It will not.
    Refused(String),
}

impl From<Failure> for VaultError {
    /// Where an object was not what was asked for, a 404 is the bucket's.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing => Self::Refused("status 404".to_owned()),
            Failure::Unavailable(why) => Self::Unavailable(why),
            Failure::Refused(why) => Self::Refused(why),
        }
    }
}

impl<E: ProvideErrorMetadata> From<SdkError<E, HttpResponse>> for Failure {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match &error {
            SdkError::ServiceError(answer) => of_status(answer.raw().status().as_u16(), answer.err().code()),
            SdkError::TimeoutError(_) => Self::Unavailable("timed out".to_owned()),
            SdkError::ConstructionFailure(_) => Self::Refused("the request cannot be made".to_owned()),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::Unavailable("timed out".to_owned()),
            SdkError::DispatchFailure(failure) => {
                let met = failure.as_connector_error().and_then(|error| tls_error(error));
                Self::Unavailable(met.map_or_else(|| "no connection, or it broke".to_owned(), of_tls))
            }
            SdkError::ResponseError(answer) => match answer.raw().status().as_u16() {
                status @ 300.. => of_status(status, None),
                _ => Self::Unavailable("the answer cannot be read".to_owned()),
            },
            // The SDK may grow kinds; none of them says that the object is not there.
            _ => Self::Unavailable("no answer".to_owned()),
        }
    }
}

/// What TLS says, if it is among the reasons.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut reason = Some(error);
    while let Some(error) = reason {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An error of I/O does not count what it is made of among its reasons.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        reason = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Names and keys that a certificate holds are not repeated.
fn of_tls(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error};
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate comes from no authority of s3.ca_file or of the system".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate does not hold the name of s3.endpoint".to_owned(),
        Error::InvalidCertificate(_) => "the server's certificate is not valid".to_owned(),
        Error::InvalidMessage(_) => "the server speaks no TLS: s3.endpoint may have to be http://".to_owned(),
        _ => "TLS with the server failed".to_owned(),
    }
}

fn of_status(status: u16, code: Option<&str>) -> Failure {
    let code = code.filter(|c| (1..=64).contains(&c.len()) && c.chars().all(|c| c.is_ascii_alphanumeric()));
    let said = code.map_or_else(|| format!("status {status}"), |code| format!("status {status}, {code}"));
    match (status, code) {
        (_, Some("SlowDown" | "RequestTimeout" | "ServiceUnavailable" | "InternalError")) => Failure::Unavailable(said),
        (408 | 429 | 500.., _) => Failure::Unavailable(said),
        (404, Some("NoSuchBucket")) => Failure::Refused(said),
        (404, _) => Failure::Missing,
        (0..500, _) => Failure::Refused(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again() {
        for (status, code) in [(500, None), (503, Some("SlowDown")), (429, None), (400, Some("RequestTimeout"))] {
            assert!(matches!(of_status(status, code), Failure::Unavailable(_)), "{status}");
        }
        for (status, code) in
            [(403, Some("AccessDenied")), (400, None), (301, None), (404, Some("NoSuchBucket")), (412, None)]
        {
            assert!(matches!(of_status(status, code), Failure::Refused(_)), "{status}");
        }
        assert_eq!(of_status(404, Some("NoSuchKey")), Failure::Missing);
        assert_eq!(of_status(404, None), Failure::Missing);
    }

    #[test]
    fn only_a_code_is_repeated() {
        assert_eq!(of_status(403, Some("AccessDenied")), Failure::Refused("status 403, AccessDenied".into()));
        for strange in ["", "key AKIA...", "https://a/b?X-Amz-Signature=1", &"a".repeat(65)] {
            assert_eq!(of_status(403, Some(strange)), Failure::Refused("status 403".into()));
        }
    }
}
