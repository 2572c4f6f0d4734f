//! Where in this director's table the connection of each cell of a sender's table stands, and the other way round:
//! eight bytes for each cell of each sender, and four for each place.

use super::super::Peer;

/// No place.
const NOWHERE: Place = Place { number: u32::MAX, version: 0 };
/// Cells of a sender's table: there are [`BUCKETS`](super::super::wire::BUCKETS) of four at the most.
const CELL_BITS: u32 = 28;

#[derive(Clone, Copy, Debug)]
struct Place {
    number: u32,
    /// Of the entry when it was written: with another one it is another's.
    version: u16,
}

/// By place of this director's table: which cell of which sender has told of the entry last. It is that one's to take
/// away.
#[derive(Debug, Default)]
pub(super) struct Owners(Vec<u32>);

/// A cell of a sender, as [`Owners`] has it: one more than its number, since 0 stands for nobody.
const fn owner(peer: Peer, cell: u32) -> u32 {
    ((peer.0 as u32) << CELL_BITS | cell) + 1
}

impl Owners {
    const NOBODY: u32 = 0;

    /// Of a table with so many places. Memory is taken as places are owned.
    pub(super) fn of(places: u32) -> Self {
        Self(vec![Self::NOBODY; places as usize])
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Cells of one sender.
#[derive(Debug)]
pub(super) struct Tenants {
    peer: Peer,
    /// By cell; as many as were spoken of.
    places: Vec<Place>,
}

impl Tenants {
    pub(super) const fn new(peer: Peer) -> Self {
        Self { peer, places: Vec::new() }
    }

    /// The connection of `cell` stands at this place now. Answers where the one before stood, if it is nobody else's.
    pub(super) fn enter(
        &mut self,
        owners: &mut Owners,
        cell: u32,
        place: u32,
        version: u16,
    ) -> Option<(u32, u16)> {
        let former = self.leave(owners, cell).filter(|(former, _)| *former != place);
        if self.places.len() <= cell as usize {
            self.places.resize(cell as usize + 1, NOWHERE);
        }
        self.places[cell as usize] = Place { number: place, version };
        if let Some(one) = owners.0.get_mut(place as usize) {
            *one = owner(self.peer, cell);
        }
        former
    }

    /// The connection of `cell` is gone. Answers where it stood, unless another cell has it by now.
    pub(super) fn leave(&mut self, owners: &mut Owners, cell: u32) -> Option<(u32, u16)> {
        let place = std::mem::replace(self.places.get_mut(cell as usize)?, NOWHERE);
        let owned = owners.0.get_mut(place.number as usize).filter(|one| **one == owner(self.peer, cell))?;
        *owned = Owners::NOBODY;
        Some((place.number, place.version))
    }

    /// Whether the entry with this version at `place` is some cell's of this sender.
    pub(super) fn holds(&self, owners: &Owners, place: u32, version: u16) -> bool {
        let Some(owned) = owners.0.get(place as usize).and_then(|one| one.checked_sub(1)) else {
            return false;
        };
        let (peer, cell) = (owned >> CELL_BITS, owned & ((1 << CELL_BITS) - 1));
        let stands = |one: &Place| one.number == place && one.version == version;
        peer == u32::from(self.peer.0) && self.places.get(cell as usize).is_some_and(stands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_moves_to_another_cell_stays() {
        let (mut tenants, mut owners) = (Tenants::new(Peer(6)), Owners::of(8));
        assert_eq!(tenants.enter(&mut owners, 100, 5, 1), None);
        assert_eq!(tenants.enter(&mut owners, 100, 5, 1), None, "said again");
        assert_eq!(tenants.enter(&mut owners, 7, 5, 1), None, "the same connection in another cell");
        assert_eq!(tenants.leave(&mut owners, 100), None, "is not the first one's any more");
        assert!(tenants.holds(&owners, 5, 1));
        assert!(!tenants.holds(&owners, 5, 2) && !tenants.holds(&owners, 6, 1));
        assert_eq!(tenants.enter(&mut owners, 7, 6, 4), Some((5, 1)), "another connection in the same cell");
        assert!(!tenants.holds(&owners, 5, 1) && tenants.holds(&owners, 6, 4));
        assert_eq!(tenants.leave(&mut owners, 7), Some((6, 4)));
        assert_eq!(tenants.leave(&mut owners, 7), None);
        assert_eq!(tenants.leave(&mut owners, 1 << 20), None, "never spoken of");
    }

    #[test]
    fn a_connection_is_whose_who_told_of_it_last() {
        let mut owners = Owners::of(8);
        let [mut former, mut latter] = [Tenants::new(Peer(0)), Tenants::new(Peer(1))];
        former.enter(&mut owners, 3, 5, 1);
        latter.enter(&mut owners, 3, 5, 1);
        assert!(!former.holds(&owners, 5, 1) && latter.holds(&owners, 5, 1));
        assert_eq!(former.leave(&mut owners, 3), None);
        assert_eq!(latter.leave(&mut owners, 3), Some((5, 1)));
    }
}
