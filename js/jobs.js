// What finished and stopped jobs may take of the disk, in ComfyUI's settings. The server reads them after each clip.
import { app } from "../../scripts/app.js";

const CATEGORY = "WanAnimateKit", GROUP = "Finished and stopped jobs";

app.registerExtension({
    name: "WanAnimateKit.Jobs",
    settings: [
        {
            id: "WanAnimateKit.Jobs.Limit",
            name: "Disk for jobs, in GB (0: no limit)",
            tooltip: "In output/wan_animate_kit/jobs. Beyond it the oldest finished ones are removed, stopped ones last.",
            category: [CATEGORY, GROUP, "Limit"],
            type: "number",
            attrs: { min: 0, max: 100000 },
            defaultValue: 50,
            sortOrder: 3,
        },
        {
            id: "WanAnimateKit.Jobs.FinishedDays",
            name: "Days that a finished job is kept",
            tooltip: "Its lossless segments: for making one again, or going on. The saved clip stays.",
            category: [CATEGORY, GROUP, "FinishedDays"],
            type: "number",
            attrs: { min: 0, max: 10000 },
            defaultValue: 7,
            sortOrder: 2,
        },
        {
            id: "WanAnimateKit.Jobs.Days",
            name: "Days that a stopped job is kept",
            tooltip: "Its finished segments, from which the same job goes on.",
            category: [CATEGORY, GROUP, "Days"],
            type: "number",
            attrs: { min: 0, max: 10000 },
            defaultValue: 30,
            sortOrder: 1,
        },
    ],
});
