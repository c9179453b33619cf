/// A setting that is no error, because something else may make it right, and yet lets no caller in, has no
/// effect or is not what it looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A client CA of whose certificates no list would say anything.
    #[error(
        "no CRL of {subject:?} is there, and one must answer for each of its certificates: unless an indirect CRL \
         is about them, all certificates of this CA are refused: add its CRL to crl.files, or give it a \
         [[crl.authority]] if it publishes none"
    )]
    NoList {
        /// The CA's subject.
        subject: Box<str>,
    },
    /// A client CA of whose CRLs none counts.
    #[error(
        "of the CRLs of {subject:?} none says which certificates are not revoked ({why}): by `unknown` \
         all of them are refused, or let in though they may be revoked"
    )]
    NoListCounts {
        /// The CA's subject.
        subject: Box<str>,
        /// Why the first of them does not.
        why: &'static str,
    },
    /// A rule of revocation for a CA that is none of the client CAs.
    #[error(
        "no client CA is named {ca:?}, so that this rule is for no certificate (the client CAs are {})",
        known.join(", ")
    )]
    UnknownAuthority {
        /// The CA as it is written.
        ca: Box<str>,
        /// The names of the client CAs.
        known: Vec<String>,
    },
    /// A list of a CA that no list is asked for.
    #[error(
        "there is a CRL of {subject:?}, but none is asked for its certificates, so that those on it get in: write \
         revocation = \"if-listed\" or \"required\""
    )]
    ListNotAsked {
        /// The CA's subject.
        subject: Box<str>,
    },
    /// A list that is over.
    #[error(
        "CRLs past their nextUpdate: {ended} of {all}; the certificates that they are about are refused until newer \
         ones come"
    )]
    ListsEnded {
        /// How many are over.
        ended: usize,
        /// How many there are.
        all: usize,
    },
    /// A delta list over a complete list that is not here.
    #[error(
        "a delta CRL of {issuer:?} is over its complete list {base}, which is not here: what was revoked between the one \
         that is here and that one is not known, so put it, or a later one, in the place of the one that is here"
    )]
    NoBase {
        /// The CA's subject.
        issuer: Box<str>,
        /// The number of the list that is missing, in hexadecimal digits.
        base: Box<str>,
    },
    /// A list that waits for the end of another, with which it contradicts itself.
    #[error("{0}")]
    HeldBack(Box<str>),
    /// A secret that is over.
    #[error("the credential {id:?} has expired, and lets nobody in: renew it or take it out")]
    Expired {
        /// The credential's id.
        id: Box<str>,
    },
    /// A secret whose time has not come.
    #[error("the credential {id:?} is not good yet")]
    NotYetGood {
        /// The credential's id.
        id: Box<str>,
    },
    /// An issuer that is none of the client CAs.
    #[error(
        "no client CA is named {issuer:?}: this matches only certificates of an intermediate CA of that name \
         (the client CAs are {})", known.join(", ")
    )]
    UnknownIssuer {
        /// The name as it is written.
        issuer: Box<str>,
        /// The names of the client CAs.
        known: Vec<String>,
    },
    /// A key that none of the client CAs has.
    #[error("no client CA has the key {key:?}: this matches no certificate (the client CAs have {})", known.join(", "))]
    UnknownAnchorKey {
        /// The key as it is written.
        key: Box<str>,
        /// The keys of the client CAs.
        known: Vec<String>,
    },
    /// Every peer is believed as a proxy.
    #[error(
        "it has every address in it: whoever connects can say whose address it has: list the proxies' own networks"
    )]
    EveryoneIsAProxy,
    /// Failures of every source are forgiven.
    #[error(
        "it has every address in it: nobody's failures are throttled, so that passwords, and tokens with \
         `weak = true`, can be guessed as fast as a client can ask: list only networks that you trust"
    )]
    EveryoneIsExempt,
    /// No client is asked for the certificate that callers must show.
    #[error(
        "callers must show a certificate, but the TLS server asks for none, so that nobody is let in: give [tls] a \
         `client_ca`"
    )]
    CertificateNotAsked,
    /// A time that slow clients need longer than.
    #[error(
        "{span} is shorter than a slow line may take, so that honest clients are cut off: write \"1s\" or more"
    )]
    Hasty {
        /// The time.
        span: Box<str>,
    },
    /// A pace that few lines have.
    #[error(
        "a request's body must bring {rate} bytes a second, and is cut off on a slower line: write fewer bytes, or a \
         longer window"
    )]
    SteepPace {
        /// Bytes a second.
        rate: u64,
    },
    /// A caller that no credential makes.
    #[error("nobody can be {who:?}: {why}")]
    Nobody {
        /// The caller that the rule names.
        who: Box<str>,
        /// What makes no such caller.
        why: &'static str,
    },
    /// A group that no caller can be in.
    #[error("nobody can be in the group {group:?}")]
    NobodysGroup {
        /// The group.
        group: Box<str>,
    },
    /// A repository with the host of a registry.
    #[error(
        "{pattern:?} begins with {host:?}, which looks like a registry's host: repositories are named without it; \
         write {rest:?}, and registries = [{host:?}] if only that upstream is meant"
    )]
    HostInRepository {
        /// The pattern.
        pattern: Box<str>,
        /// Its first component.
        host: Box<str>,
        /// What follows.
        rest: Box<str>,
    },
    /// A network that is written as an address in it.
    #[error(
        "{written} has bits set beyond its prefix, and means {meant}: write {meant}, or {host} for one host"
    )]
    HostBits {
        /// As it is written.
        written: Box<str>,
        /// The network that it means.
        meant: Box<str>,
        /// The one address.
        host: Box<str>,
    },
    /// A list of networks without one.
    #[error("no network is listed: nobody is let in by this")]
    NoNetwork,
    /// A policy that never allows anything.
    #[error("no rule of the policy allows anything: every request is denied")]
    AllowsNothing,
    /// A limit of a class that no rule names.
    #[error("no rule of the policy has rate_class = {class:?}: this limit never applies")]
    UnusedClass {
        /// The class.
        class: Box<str>,
    },
    /// A limit whose key no request has.
    #[error("no request has a {key}, since {why}: this limit never applies")]
    UnusedKey {
        /// The key.
        key: &'static str,
        /// Why none has.
        why: &'static str,
    },
    /// A certificate that clients do not take from a server.
    #[error("{subject:?} is not for servers ({why}): clients will refuse it")]
    NotForServers {
        /// The certificate's subject.
        subject: Box<str>,
        /// What is missing.
        why: &'static str,
    },
    /// A secret in a file that everybody on the machine may read.
    #[error(
        "{file} is a secret that everybody on this machine may read (mode {mode:03o}): chmod 600, or defaultMode \
         0400 in a Kubernetes volume"
    )]
    Readable {
        /// The file.
        file: Box<str>,
        /// Its permission bits.
        mode: u32,
    },
    /// Digests of secrets in a file that everybody on the machine may read.
    #[error(
        "everybody on this machine may read {file} (mode {mode:03o}), and guess the passwords of its digests without \
         a throttle: chmod 640"
    )]
    DigestsReadable {
        /// The file.
        file: Box<str>,
        /// Its permission bits.
        mode: u32,
    },
    /// What everybody on the machine may write, of files that decide who is let in.
    #[error(
        "everybody on this machine may write to {path} (mode {mode:03o}), and so decide who is let in: chmod o-w"
    )]
    Writable {
        /// The file or folder.
        path: Box<str>,
        /// Its permission bits.
        mode: u32,
    },
    /// What a group that the process is not in may write, of files that decide who is let in.
    #[error(
        "the group {group} may write to {path} (mode {mode:03o}), and so decide who is let in: this process is not in \
         it; chmod g-w, or give the file a group of its own"
    )]
    GroupWritable {
        /// The file or folder.
        path: Box<str>,
        /// Its permission bits.
        mode: u32,
        /// The number of the group.
        group: u32,
    },
}
