// What Edit Pose shows at a frame: driver, skeleton, face box, and after retargeting the result beside it.
import { BODY, FACE, HANDS, SHOWN, drawDot, drawSkeleton } from "./skeleton.js";
import { edited } from "./pose_edits.js";
import { say } from "../language/say.js";

const FACE_BOX = "#f2b134", MOVED = "#4a9eff", UNSURE = "rgba(150,150,155,.9)";

export class PoseScene {
    // edits() gives the edits, fade() how far they fade.
    constructor(clip, edits, fade) {
        Object.assign(this, { clip, edits, fade });
        this.show = { body: true, hands: true, face: false, video: true, before: false };
        this.selected = new Set();
        this.hovered = null;
        const picture = layer => () => (this.show.video && clip.has(layer) ? layer : null);
        const own = { width: clip.width, height: clip.height, edited: true };
        this.panes = clip.driver
            ? [
                { width: clip.driver[0], height: clip.driver[1], layer: picture("frame"), label: say("driver") },
                { ...own, layer: picture("reference"), label: say("result"), dim: () => 0.45 },
            ]
            : [{ ...own, layer: picture("frame"), dim: () => 0.75 }];
    }

    async load(frame) {
        const { clip } = this;
        const track = name => (name in clip.tracks ? clip.numbers(name, frame) : null);
        const [base, driver, face] = await Promise.all([clip.numbers("base", frame), track("driver"), track("face")]);
        return { frame, base, driver, face };
    }

    // The edited keypoints of the frame that is shown.
    keypoints(numbers) {
        return edited(numbers.base, this.edits(), this.clip, numbers.frame, this.fade());
    }

    // Keypoints that can be taken hold of.
    handles() {
        const out = [];
        if (this.show.body) for (let joint = 0; joint < BODY; joint++) out.push(joint);
        if (this.show.face) for (let joint = FACE[0]; joint < FACE[1]; joint++) out.push(joint);
        if (this.show.hands) for (let joint = HANDS[0]; joint < HANDS[1]; joint++) out.push(joint);
        return out;
    }

    draw(context, box, numbers, editing) {
        if (!numbers) return;
        const place = (x, y) => [box.x + x * box.scale, box.y + y * box.scale];
        const width = Math.max(2, box.height / 160);
        if (!box.pane.edited) {
            drawSkeleton(context, numbers.driver, place, width);
            this.drawFace(context, numbers, place);
            return;
        }
        if (this.show.before) {
            context.globalAlpha = 0.35;
            drawSkeleton(context, numbers.base, place, width);
            context.globalAlpha = 1;
        }
        const keypoints = this.keypoints(numbers);
        drawSkeleton(context, keypoints, place, width);
        if (!this.clip.driver) this.drawFace(context, numbers, place);
        if (editing) this.drawHandles(context, keypoints, numbers.frame, place);
    }

    drawFace(context, { face }, place) {
        if (!face || face[2] <= face[0]) return;
        const [left, top] = place(face[0], face[1]), [right, bottom] = place(face[2], face[3]);
        context.save();
        context.strokeStyle = FACE_BOX;
        context.lineWidth = 1.5;
        context.setLineDash([6, 4]);
        context.strokeRect(left, top, right - left, bottom - top);
        context.restore();
    }

    drawHandles(context, keypoints, frame, place) {
        const { keys } = this.edits();
        for (const joint of this.handles()) {
            const [x, y] = place(keypoints[3 * joint], keypoints[3 * joint + 1]);
            const held = this.selected.has(joint), small = joint >= BODY;
            const keyed = keys[joint]?.[frame] !== undefined;
            const sure = keypoints[3 * joint + 2] >= SHOWN;
            if (small && !sure && !held) continue;
            const radius = (small ? 2.5 : 4.5) + (held ? 2 : 0) + (joint === this.hovered ? 1 : 0);
            const fill = keyed ? FACE_BOX : keys[joint] ? MOVED : sure ? "#fff" : "transparent";
            drawDot(context, x, y, radius, fill, held ? "#fff" : sure ? "rgba(0,0,0,.8)" : UNSURE);
        }
    }

    hit(numbers, { x, y, box }, reach) {
        if (!numbers || !box.pane.edited) return null;
        const keypoints = this.keypoints(numbers);
        let best = null, least = reach;
        for (const joint of this.handles()) {
            const sure = keypoints[3 * joint + 2] >= SHOWN;
            if (joint >= BODY && !sure) continue;
            const far = Math.hypot(keypoints[3 * joint] - x, keypoints[3 * joint + 1] - y) * box.scale;
            if (far + (sure ? 0 : 3) < least) [best, least] = [joint, far];
        }
        return best;
    }
}
