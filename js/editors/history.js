// Undo and redo over states that are never changed in place.
const MOST = 200;

export class History {
    constructor(state) {
        this.states = [state];
        this.at = 0;
    }

    get state() {
        return this.states[this.at];
    }

    // With `merge` the state before takes the place of the current one: one drag is one step.
    push(state, merge = false) {
        this.states.length = this.at + 1;
        if (merge && this.at > 0) this.states[this.at] = state;
        else this.states.push(state);
        if (this.states.length > MOST) this.states.shift();
        this.at = this.states.length - 1;
    }

    get canUndo() {
        return this.at > 0;
    }

    get canRedo() {
        return this.at < this.states.length - 1;
    }

    undo() {
        if (this.canUndo) this.at--;
        return this.state;
    }

    redo() {
        if (this.canRedo) this.at++;
        return this.state;
    }
}
