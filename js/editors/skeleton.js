// COCO-WholeBody keypoints on a canvas: the skeleton in the colours of wan_animate/pose/draw.py.
import { say } from "../language/say.js";

const FIRST = [0, 6, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 20];
const SECOND = [0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 18, 21];
const LIMBS = [
    [1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13],
    [1, 0], [0, 14], [14, 16], [0, 15], [15, 17], [13, 18], [10, 19],
];
const HUES = [0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 240, 260, 280, 300, 320, 340, 60];
export const SHOWN = 0.5; // confidence from which Draw Pose draws a keypoint
export const BODY = 23; // with the feet
export const FACE = [23, 91], HANDS = [91, 133];

const NAMES = (
    "nose,left eye,right eye,left ear,right ear,left shoulder,right shoulder,left elbow,right elbow,left wrist," +
    "right wrist,left hip,right hip,left knee,right knee,left ankle,right ankle,left big toe,left small toe," +
    "left heel,right big toe,right small toe,right heel"
).split(",");

export function nameOf(joint) {
    if (joint < BODY) return say(NAMES[joint]);
    if (joint < FACE[1]) return say("face {0}", joint - FACE[0] + 1);
    return joint < 112 ? say("left hand {0}", joint - 91) : say("right hand {0}", joint - 112);
}

const range = (first, stop) => Array.from({ length: stop - first }, (_, i) => first + i);

// What moves along with a keypoint: the hand with the wrist, the foot with the ankle, the head with the nose.
export const CARRIED = {
    0: [1, 2, 3, 4, ...range(...FACE)],
    9: range(91, 112),
    10: range(112, 133),
    15: [17, 18, 19],
    16: [20, 21, 22],
};

const point = (k, joint) => [k[3 * joint], k[3 * joint + 1], k[3 * joint + 2]];

// `place` brings pixels of the clip to the canvas.
export function drawSkeleton(context, keypoints, place, width = 3) {
    const drawn = FIRST.map((first, i) => {
        const a = point(keypoints, first), b = point(keypoints, SECOND[i]);
        return [...place((a[0] + b[0]) / 2, (a[1] + b[1]) / 2), (a[2] + b[2]) / 2];
    });
    context.save();
    context.lineCap = "round";
    context.lineWidth = width;
    LIMBS.forEach(([a, b], i) => {
        if (drawn[a][2] < SHOWN || drawn[b][2] < SHOWN) return;
        context.strokeStyle = `hsl(${HUES[i]} 100% 45%)`;
        line(context, drawn[a], drawn[b]);
    });
    context.lineWidth = Math.max(width / 2, 1);
    for (const wrist of [91, 112]) {
        for (let finger = 0; finger < 5; finger++) {
            for (let bone = 0; bone < 4; bone++) {
                const a = point(keypoints, wrist + (bone ? 4 * finger + bone : 0));
                const b = point(keypoints, wrist + 4 * finger + bone + 1);
                if (a[2] < SHOWN || b[2] < SHOWN) continue;
                context.strokeStyle = `hsl(${(finger * 4 + bone) * 18} 100% 50%)`;
                line(context, place(a[0], a[1]), place(b[0], b[1]));
            }
        }
    }
    context.restore();
}

function line(context, a, b) {
    context.beginPath();
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.stroke();
}

export function drawDot(context, x, y, radius, fill, ring) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
    context.lineWidth = ring === "#fff" ? 2 : 1;
    context.strokeStyle = ring;
    context.stroke();
}
