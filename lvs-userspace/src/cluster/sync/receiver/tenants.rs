//! Where in this director's table the connection of each cell of the sender's table stands, and the other way round:
//! twelve bytes for each.

/// No place, or no cell.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Place {
    number: u32,
    /// Of the entry when it was written: with another one it is another's.
    version: u16,
}

const NOWHERE: Place = Place { number: NONE, version: 0 };

#[derive(Debug)]
pub(super) struct Tenants {
    /// By cell; as many as were spoken of.
    places: Vec<Place>,
    /// By place.
    cells: Vec<u32>,
}

impl Tenants {
    pub(super) fn new(places: u32) -> Self {
        Self { places: Vec::new(), cells: vec![NONE; places as usize] }
    }

    /// The connection of `cell` stands at this place now. Answers where the one before stood, if it is nobody else's.
    pub(super) fn enter(&mut self, cell: u32, place: u32, version: u16) -> Option<(u32, u16)> {
        let former = self.leave(cell).filter(|(former, _)| *former != place);
        if self.places.len() <= cell as usize {
            self.places.resize(cell as usize + 1, NOWHERE);
        }
        self.places[cell as usize] = Place { number: place, version };
        if let Some(owner) = self.cells.get_mut(place as usize) {
            *owner = cell;
        }
        former
    }

    /// The connection of `cell` is gone. Answers where it stood, unless another cell has it by now.
    pub(super) fn leave(&mut self, cell: u32) -> Option<(u32, u16)> {
        let place = std::mem::replace(self.places.get_mut(cell as usize)?, NOWHERE);
        let owner = self.cells.get_mut(place.number as usize).filter(|owner| **owner == cell)?;
        *owner = NONE;
        Some((place.number, place.version))
    }

    /// Whether the entry with this version at `place` is some cell's.
    pub(super) fn holds(&self, place: u32, version: u16) -> bool {
        let Some(cell) = self.cells.get(place as usize).filter(|cell| **cell != NONE) else { return false };
        self.places.get(*cell as usize).is_some_and(|one| one.number == place && one.version == version)
    }
}

#[cfg(test)]
mod tests {
    use super::Tenants;

    #[test]
    fn a_connection_that_moves_to_another_cell_stays() {
        let mut tenants = Tenants::new(8);
        assert_eq!(tenants.enter(100, 5, 1), None);
        assert_eq!(tenants.enter(100, 5, 1), None, "said again");
        assert_eq!(tenants.enter(7, 5, 1), None, "the same connection in another cell");
        assert_eq!(tenants.leave(100), None, "is not the first one's any more");
        assert!(tenants.holds(5, 1) && !tenants.holds(5, 2) && !tenants.holds(6, 1));
        assert_eq!(tenants.enter(7, 6, 4), Some((5, 1)), "another connection in the same cell");
        assert!(!tenants.holds(5, 1) && tenants.holds(6, 4));
        assert_eq!(tenants.leave(7), Some((6, 4)));
        assert_eq!(tenants.leave(7), None);
        assert_eq!(tenants.leave(1 << 20), None, "never spoken of");
    }
}
