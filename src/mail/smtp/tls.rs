//! [`Tls`]: the client side of TLS, with the certificates to trust.

use std::fmt;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::SmtpError;
use super::server::SmtpConfigError;

/// Encrypts connections to one host, and checks the host's certificate.
pub(super) struct Tls {
    name: ServerName<'static>,
    roots: RootCertStore,
    connector: TlsConnector,
}

impl Tls {
    /// Trusts the root certificates of the system.
    pub(super) fn new(host: String) -> Result<Self, SmtpConfigError> {
        let name = ServerName::try_from(host).map_err(|_| SmtpConfigError::Malformed)?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            tracing::warn!("the system has no root certificates, so no certificate of a mail server is trusted");
        }
        Ok(Self { name, connector: connector(&roots), roots })
    }

    /// Trusts further root certificates, in PEM format.
    pub(super) fn trust(&mut self, pem: &[u8]) -> Result<(), SmtpConfigError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        for certificate in certificates.ok_or(SmtpConfigError::Certificate)? {
            self.roots.add(certificate).map_err(|_| SmtpConfigError::Certificate)?;
        }
        self.connector = connector(&self.roots);
        Ok(())
    }

    pub(super) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, SmtpError> {
        self.connector.connect(self.name.clone(), stream).await.map_err(SmtpError::tls)
    }
}

/// Returns a connector with a provider of its own: the default provider of the process panics if the application links two.
fn connector(roots: &RootCertStore) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("ring supports the default TLS versions");
    TlsConnector::from(Arc::new(config.with_root_certificates(roots.clone()).with_no_client_auth()))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("roots", &self.roots.len()).finish_non_exhaustive()
    }
}
