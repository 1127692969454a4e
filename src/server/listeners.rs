//! The listeners of a server: made at its start, or taken over from the image before.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::error::ServerError;
use super::spec::ServerSpec;
use super::upgrade::{Entered, duplicated};
use crate::net::reactor::LISTENERS_MAX;
use crate::net::{Families, ListenAddress, Listener, SocketFiles, listen, listen_at};

/// Tries to find one free port for all addresses of a name: others take ports meanwhile, but hardly
/// each of eight.
const FREE_PORT_TRIES: usize = 8;

/// What a server is to listen on.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) addresses: Vec<ListenAddress>,
    /// Those on which TLS is spoken.
    pub(super) tls_addresses: Vec<ListenAddress>,
    /// Whether what the image before listened on is kept beside these.
    pub(super) keeps_all: bool,
    /// Sockets that listen already.
    pub(super) sockets: Vec<TcpListener>,
    /// The mode of Unix sockets.
    pub(super) unix_mode: u32,
}

impl Wanted {
    /// Takes it out of the specification.
    pub(super) fn of(spec: &mut ServerSpec) -> Self {
        Self {
            keeps_all: spec.keeps_listeners
                || spec.addresses.is_empty() && spec.tls_addresses.is_empty(),
            addresses: std::mem::take(&mut spec.addresses),
            tls_addresses: std::mem::take(&mut spec.tls_addresses),
            sockets: std::mem::take(&mut spec.sockets),
            unix_mode: spec.unix_mode,
        }
    }
}

/// Makes the listeners of a server: of its addresses, on which it listens anew but for those of the image
/// before, and of sockets that listen already.
///
/// Sockets of the image before whose address isn't wanted any more are closed; a server without addresses of
/// its own keeps them all.
pub(super) fn listeners(
    wanted: Wanted,
    entered: Option<&Entered>,
) -> Result<(Vec<Listener>, SocketFiles), ServerError> {
    let taken_over = entered.map(duplicated).transpose();
    let taken_over = taken_over.map_err(ServerError::system("take over a socket"))?;
    joined_listeners(wanted, taken_over.unwrap_or_default())
}

fn joined_listeners(
    wanted: Wanted,
    taken_over: Vec<Listener>,
) -> Result<(Vec<Listener>, SocketFiles), ServerError> {
    let (keeps_all, plain) = (wanted.keeps_all, wanted.addresses.len());
    let all_wanted = wanted.addresses.into_iter().chain(wanted.tls_addresses);
    let mut files = SocketFiles::default();
    let groups = groups_of(all_wanted.collect())?;
    let flat: Vec<_> = groups.iter().flatten().cloned().collect();
    let mut places = places(&flat, &taken_over).into_iter();
    let mut before: Vec<_> = taken_over.into_iter().map(Some).collect();
    let mut all = Vec::new();
    for (number, group) in groups.into_iter().enumerate() {
        let kept = places.by_ref().take(group.len());
        let mut kept = kept.map(|place| place.and_then(|place| before[place].take()));
        let kept: Vec<_> = kept.by_ref().collect();
        for listener in kept.iter().flatten() {
            files.carried.extend(listener.file.clone());
        }
        let binding = Binding {
            flat: &flat,
            unix_mode: wanted.unix_mode,
        };
        let made = binding.listen_on(&group, kept)?;
        for mut listener in made {
            listener.is_tls = number >= plain;
            if let Some(file) = &listener.file
                && !files.carried.contains(file)
            {
                files.own.push(file.clone());
            }
            all.push(listener);
        }
    }
    for socket in wanted.sockets {
        let listener = Listener::of(socket.into());
        all.push(listener.map_err(ServerError::system("take over a socket"))?);
    }
    for listener in before.into_iter().flatten() {
        if keeps_all {
            files.carried.extend(listener.file.clone());
            all.push(listener);
        } else {
            tracing::info!(address = %listener.address, "not listened on any more");
            files.unwanted.extend(listener.file);
        }
    }
    match all.len() <= LISTENERS_MAX {
        true => Ok((all, files)),
        false => Err(ServerError::OutOfBounds {
            name: "listening addresses",
            value: all.len(),
            min: 1,
            max: LISTENERS_MAX,
        }),
    }
}

/// The addresses behind each of those that are wanted, each address once.
fn groups_of(addresses: Vec<ListenAddress>) -> Result<Vec<Vec<ListenAddress>>, ServerError> {
    let mut groups: Vec<Vec<ListenAddress>> = Vec::new();
    for wanted in addresses {
        let resolved = match wanted.clone() {
            // As it is found also when the folder is another one.
            ListenAddress::Unix(path) => {
                std::path::absolute(path).map(|path| vec![ListenAddress::Unix(path)])
            }
            wanted => wanted.resolved(),
        };
        let mut group = resolved.map_err(|source| ServerError::Address {
            address: wanted.to_string(),
            source,
        })?;
        // Port 0 takes another free port each time.
        group.retain(|one| one.port() == Some(0) || !groups.iter().flatten().any(|had| had == one));
        groups.push(group);
    }
    Ok(groups)
}

/// How the addresses of one wanted address are listened on.
struct Binding<'a> {
    /// All addresses of the server.
    flat: &'a [ListenAddress],
    unix_mode: u32,
}

impl Binding<'_> {
    /// Listens on each address of a group that isn't `kept` from the image before. Of several addresses
    /// those are left out that this machine doesn't have, as long as it has one; all get one port.
    fn listen_on(
        &self,
        group: &[ListenAddress],
        kept: Vec<Option<Listener>>,
    ) -> Result<Vec<Listener>, ServerError> {
        let is_name = group.len() > 1;
        let port = kept.iter().flatten().find_map(|one| one.address.port());
        if port.is_some() || !is_name || group.iter().all(|one| one.port() != Some(0)) {
            return self.listen_once(group, kept, port);
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.listen_once(group, Vec::new(), None) {
                Err(ServerError::Listen { source, .. })
                    if source.kind() == io::ErrorKind::AddrInUse && tries < FREE_PORT_TRIES => {}
                ended => return ended,
            }
        }
    }

    fn listen_once(
        &self,
        group: &[ListenAddress],
        kept: Vec<Option<Listener>>,
        mut port: Option<u16>,
    ) -> Result<Vec<Listener>, ServerError> {
        let mut kept = kept.into_iter();
        let (mut all, mut missing) = (Vec::new(), None);
        for address in group {
            let listened = match kept.next().flatten() {
                Some(listener) => Ok(listener),
                None => self.listen_at_one(address, port),
            };
            match listened {
                Ok(listener) => {
                    port = port.or(listener.address.port());
                    all.push(listener);
                }
                Err(source) if group.len() > 1 && is_not_here(&source) => {
                    tracing::info!(%address, "this machine has no such address");
                    missing = Some((address.clone(), source));
                }
                Err(source) => {
                    let address = address.clone();
                    return Err(ServerError::Listen { address, source });
                }
            }
        }
        match (all.is_empty(), missing) {
            (true, Some((address, source))) => Err(ServerError::Listen { address, source }),
            _ => Ok(all),
        }
    }

    /// Listens on an address; `port` takes the place of port 0.
    fn listen_at_one(&self, address: &ListenAddress, port: Option<u16>) -> io::Result<Listener> {
        match address {
            ListenAddress::Unix(path) => listen_at(path.clone(), self.unix_mode),
            ListenAddress::Ip(address) => {
                let mut address = *address;
                if let (0, Some(port)) = (address.port(), port) {
                    address.set_port(port);
                }
                listen(address, self.families(address))
            }
            ListenAddress::Name(..) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// `[::]` leaves IPv4 to `0.0.0.0` where the server has both.
    fn families(&self, address: SocketAddr) -> Families {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
        match address.ip().is_unspecified() && self.flat.contains(&v4.into()) {
            true => Families::OnlyOwn,
            false => Families::AsTheSystemIsSet,
        }
    }
}

/// Whether the machine doesn't have an address, or not its whole family.
fn is_not_here(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    error.kind() == io::ErrorKind::AddrNotAvailable || errno == Some(rustix::io::Errno::AFNOSUPPORT)
}

/// Finds for each address the listener of the image before; port 0 takes any port of its host that no
/// other address names.
fn places(addresses: &[ListenAddress], listeners: &[Listener]) -> Vec<Option<usize>> {
    let mut places = vec![None; addresses.len()];
    for takes_any_port in [false, true] {
        for (own, address) in addresses.iter().enumerate() {
            if (address.port() == Some(0)) != takes_any_port {
                continue;
            }
            let fits = |listener: &Listener| match (takes_any_port, address.ip()) {
                (true, Some(wanted)) => {
                    (listener.address.ip()).is_some_and(|there| there.ip() == wanted.ip())
                }
                _ => listener.address == *address,
            };
            let mut found = listeners.iter().enumerate();
            let found = found.find(|(at, one)| !places.contains(&Some(*at)) && fits(one));
            places[own] = found.map(|(at, _)| at);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> ListenAddress {
        SocketAddr::from(([127, 0, 0, 1], port)).into()
    }

    fn joined(
        addresses: Vec<ListenAddress>,
        before: impl IntoIterator<Item = TcpListener>,
    ) -> (Vec<Listener>, SocketFiles) {
        let before = before
            .into_iter()
            .map(|one| Listener::of(one.into()).unwrap());
        let wanted = Wanted {
            keeps_all: addresses.is_empty(),
            addresses,
            unix_mode: 0o600,
            ..Wanted::default()
        };
        joined_listeners(wanted, before.collect()).unwrap()
    }

    fn addresses(listeners: &[Listener]) -> Vec<SocketAddr> {
        listeners
            .iter()
            .filter_map(|one| one.address.ip())
            .collect()
    }

    #[test]
    fn an_address_of_the_image_before_is_not_listened_on_twice() {
        let before = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [first, second, third] = before.each_ref().map(|one| one.local_addr().unwrap());
        let wanted = vec![local(0), third.into(), local(0), local(0)];
        let (all, _files) = joined(wanted, before);
        let all = addresses(&all);
        assert_eq!(all[..3], [first, third, second]);
        assert!(![first, second, third].contains(&all[3]) && all.len() == 4);
    }

    #[test]
    fn an_address_that_is_wanted_no_more_is_closed_and_all_stay_where_none_is_named() {
        let before = || [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let sockets = before();
        let [first, second] = sockets.each_ref().map(|one| one.local_addr().unwrap());
        let (all, _files) = joined(vec![second.into()], sockets);
        assert_eq!(addresses(&all), [second]);
        let refused = std::net::TcpStream::connect(first).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let (all, _files) = joined(Vec::new(), before());
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn all_addresses_of_a_name_have_one_port_and_the_next_image_finds_them_again() {
        let name = || vec![ListenAddress::Name("localhost".into(), 0)];
        let (first, _files) = joined(name(), []);
        let had = addresses(&first);
        assert!(!had.is_empty() && had.iter().all(|one| one.ip().is_loopback()));
        assert!(had.iter().all(|one| one.port() == had[0].port()), "{had:?}");
        let carried = first.into_iter().map(|one| one.socket.into());
        let (next, _files) = joined(name(), carried);
        assert_eq!(addresses(&next), had);
    }

    #[test]
    fn both_wildcards_share_a_port_and_an_address_that_is_named_twice_is_listened_on_once() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let both = ["0.0.0.0", "[::]", "0.0.0.0"];
        let both = both.map(|ip| format!("{ip}:{port}").parse().unwrap());
        let (all, _files) = joined(both.into(), []);
        assert_eq!(all.len(), 2, "{all:?}");
    }

    #[test]
    fn the_next_image_neither_makes_nor_removes_a_socket_before_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.sock");
        let wanted = || vec![ListenAddress::Unix(path.clone())];
        let (first, own) = joined(wanted(), []);
        let carried = |listeners: &[Listener]| {
            let handed = listeners.iter().map(|one| Listener {
                socket: one.socket.try_clone().unwrap(),
                address: one.address.clone(),
                file: one.file.clone(),
                is_tls: false,
            });
            handed.collect::<Vec<_>>()
        };
        let next = |addresses: Vec<ListenAddress>| {
            let wanted = Wanted {
                addresses,
                ..Wanted::default()
            };
            joined_listeners(wanted, carried(&first)).unwrap()
        };
        let identity = first[0].file.clone();
        let (second, files) = next(wanted());
        assert_eq!(second[0].file, identity, "it isn't made anew");
        drop(files);
        assert!(path.exists(), "an image that goes back removes nothing");
        let (_third, mut files) = next(vec![local(0)]);
        assert!(path.exists());
        files.commit();
        assert!(!path.exists(), "nobody wants it any more");
        drop(own);
    }
}
