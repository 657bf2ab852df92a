// The panel's words in the language of the interface. What the server says of a run is English on the wire; its phases
// are put together of these words, sentences of warnings stay as they are.
import { app } from "../../../scripts/app.js";

const ZH = {
    "Compare": "对比", "Pictures": "图片", "Text": "文字",
    "Side": "并排", "Wipe": "擦除", "Clip": "成片", "driver": "驱动视频", "clip": "成片",
    "driver and clip side by side": "驱动视频与成片并排", "the clip wiped over the driver": "成片擦除覆盖在驱动视频上",
    "the clip alone": "只看成片", "play or pause": "播放或暂停", "sound on or off": "声音开关", "frame": "帧",
    "how far the clip is wiped over the driver": "成片覆盖驱动视频的程度",
    "show compare": "显示对比", "show pictures": "显示图片", "show text": "显示文字", "what is being made": "正在生成的画面",
    "Run this node alone to see here what it makes.": "单独运行此节点，即可在这里看到结果。",
    "Segments, seconds left and the clip beside its driver are shown here.": "这里显示各片段、剩余时间，以及成片与驱动视频的对比。",
    "segments": "片段", "last frame of the segment before": "上一段的最后一帧", "first frame of this segment": "本段的第一帧",
    "Make again": "重做", "Go on": "继续", "Run again": "再次运行",
    "queue this job again with another seed for this segment": "用另一个种子重做这一段并再次排队",
    "queue the job again: finished segments are not made again": "再次排队：已完成的片段不会重做",
    "done": "已完成", "running": "进行中", "to do": "待做", "left out": "略过",
    ": a run goes on from there": "：再次运行会从这里继续", ", the others are left out": "，其余略过",
    "options comes from another node than Clip Options: set the segment's seed there.":
        "options 来自“片段选项”以外的节点：请在那里设置片段的种子。",
    "segment_seeds of Clip Options is linked: set the seed where it is made.":
        "“片段选项”的 segment_seeds 已连接：请在来源处设置种子。",
    "encoding": "编码", "decoding": "解码", "saving": "保存", "writing": "写入",
    "reading finished segments": "读取已完成的片段",
    "comparing where segments meet": "比较片段衔接处", "comparing the inputs with finished segments": "核对已完成的片段",
    "looking at the finished clip": "检查成片", "loading the model": "加载模型", "loading the VAE": "加载 VAE",
    "loading the models, reading the first frames": "加载模型并读取前几帧",
    "Finding the pose": "检测姿态", "Following the person": "跟踪人物", "Finding the window": "寻找窗口",
    "Writing the clip": "写入成片", "Looking through the mask": "检查遮罩", "Measuring colours": "测量颜色",
    "Comparing the mask with the pose": "对照遮罩与姿态", "Reading": "读取",
};
const PATTERNS = [
    [/^waits for (.*?): (.*)$/, (name, what) => `等待“${name}”：${say(what)}`],
    [/^waits for (.*), ([^,]*)$/, (name, time) => `等待“${name}”，${say(time)}`],
    [/^queued, (.*)$/, time => `排队中，${say(time)}`],
    [/^(.*) · ([^·]*)$/, (text, time) => `${say(text)} · ${say(time)}`],
    [/^(.*), ([^,]*) left$/, (text, time) => `${say(text)}，剩余 ${say(time)}`],
    [/^segment (\d+) of (\d+): (.*)$/, (at, count, what) => `第 ${at}/${count} 段：${say(what)}`],
    [/^(loading the \w+), (.*)$/, (load, what) => `${say(load)}，${say(what)}`],
    [/^sampling, step (\d+) of (\d+)$/, (step, steps) => `采样第 ${step}/${steps} 步`],
    [/^(.*): (\d+) of (\d+) frames$/, (what, done, total) => `${say(what)}：${done}/${total} 帧`],
    [/^(\d+) of (\d+) segments done(?: \((\d+) from before\))?$/, (done, count, before) =>
        `已完成 ${done}/${count} 段${before ? `（其中 ${before} 段来自之前）` : ""}`],
    [/^Segment (\d+): frames (\d+) to (-?\d+), seed (\d+)$/, (at, first, last, seed) =>
        `第 ${at} 段：第 ${first} 至 ${last} 帧，种子 ${seed}`],
    [/^segment (\d+): (.*), frames (\d+) to (-?\d+), seed (\d+)$/, (at, state, first, last, seed) =>
        `第 ${at} 段：${say(state)}，第 ${first} 至 ${last} 帧，种子 ${seed}`],
    [/^Go on from segment (\d+)$/, at => `从第 ${at} 段继续`],
    [/^picture (\d+)$/, at => `图片 ${at}`],
    [/^(?:(\d+) h )?(?:(\d+) min)? ?(?:(\d+) s)?$/, (h, min, s) =>
        [h && `${h} 小时`, min && `${min} 分`, s && `${s} 秒`].filter(Boolean).join(" ")],
];

function chinese() {
    return app.extensionManager?.setting?.get?.("Comfy.Locale") === "zh";
}

export function say(text) {
    if (!text || !chinese()) return text;
    if (ZH[text]) return ZH[text];
    for (const [pattern, made] of PATTERNS) {
        const found = pattern.exec(text);
        if (found && found[0]) return made(...found.slice(1));
    }
    return text;
}
