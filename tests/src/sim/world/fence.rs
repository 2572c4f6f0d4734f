//! Programs that fence: one takes its time, fails now and then, and turns a machine's power off and on.

use lvs_userspace::cluster::identity::GroupId;

use super::*;

impl World {
    /// A director runs its program for another one.
    pub(super) fn fence(&mut self, by: usize, group: GroupId, node: NodeId) {
        let Some(director) = self.directors.iter().position(|one| one.settings.node == node) else { return };
        let number = self.directors[by].number(group);
        self.note(|| format!("{by}: FENCES {director} for group {number}"));
        if let Err(what) = check::may_be_fenced(&self.directors, director, self.time)
            && !self.may_part()
        {
            self.violation = Some(Violation { time: self.time, what });
        }
        let settings = &self.directors[by].settings;
        let (life, deadtime) = (settings.life, settings.deadtime);
        let random = &mut self.fence_random;
        // Once all is mended it does what it is for, or the group would stay where nobody is.
        let done = random.chance(700) || self.time > self.mended;
        let takes = random.between(Duration::ZERO..deadtime * 2);
        let shoots = random.between(Duration::ZERO..takes);
        if done || random.chance(300) {
            self.push(self.time + shoots, What::Shot { director });
        }
        self.push(self.time + takes, What::Fenced { director: by, life, group, node, done });
    }

    /// Its machine boots.
    pub(super) fn shoot(&mut self, director: usize) {
        self.note(|| format!("-- {director} is shot"));
        self.directors[director].crash();
        let deadtime = self.directors[director].settings.deadtime;
        let takes = self.fence_random.between(deadtime..deadtime * 3);
        self.push(self.time + takes, What::Restart { director });
    }
}
