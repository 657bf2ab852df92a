// Chinese. The keys are the English texts, of this folder's scripts and of what the server says.
export const WORDS = {
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
    "Reading": "读取",
    // put together of parts
    "waits for {0}: {1}": "等待“{0}”：{1}", "waits for {0}, {1}": "等待“{0}”，{1}", "queued, {0}": "排队中，{0}",
    "{0}, {1} left": "{0}，剩余 {1}", ", {0} left": "，剩余 {0}", "node {0}": "节点 {0}", "picture {0}": "图片 {0}",
    "{0} of {1} segments done": "已完成 {0}/{1} 段", " ({0} from before)": "（其中 {0} 段来自之前）",
    "Segment {0}: frames {1} to {2}, seed {3}": "第 {0} 段：第 {1} 至 {2} 帧，种子 {3}",
    "segment {0}: {1}, frames {2} to {3}, seed {4}": "第 {0} 段：{1}，第 {2} 至 {3} 帧，种子 {4}",
    "Go on from segment {0}": "从第 {0} 段继续",
    "{0} s": "{0} 秒", "{0} min": "{0} 分", "{0} min {1} s": "{0} 分 {1} 秒", "{0} h {1} min": "{0} 小时 {1} 分",
    // the editors
    "Points": "点", "Pose": "姿态", "Undo": "撤销", "Redo": "重做", "Delete": "删除", "Done": "完成", "Mask": "遮罩",
    "takes back": "撤销上一步", "makes again": "重做上一步", "Clear frame": "清空此帧", "Box": "框",
    "On the person": "在人物上", "Not the person": "不在人物上", "then click on the frame": "然后点击画面",
    "what is selected": "删除所选", "takes all of this frame away": "移除此帧的全部内容",
    "shows the mask of the last run": "显示上次运行的遮罩", "closes; points are kept": "关闭；点会保留",
    "frame: click to set a point": "画面：点击以放置点",
    "Drag moves. Right click sets a negative point. N sets one at the cross, arrows move it, [ and ] select, Page Up and Page Down go to frames with points.":
        "拖动可移动。右键放置负点。N 在十字处放点，方向键移动，[ 和 ] 选择，Page Up 和 Page Down 跳到有点的帧。",
    "Prompts: {0}.": "提示：{0}。", "The person was lost in {0} frames (red).": "有 {0} 帧丢失了人物（红色）。",
    "Points: {0}": "点：{0}", "none": "无", "not readable": "无法读取", "{0} on {1} frame": "{0}，在 {1} 帧上",
    "{0} on {1} frames": "{0}，在 {1} 帧上", "{0} point": "{0} 个点", "{0} points": "{0} 个点", "{0} box": "{0} 个框",
    "{0} boxes": "{0} 个框", "{0}, {1}": "{0}、{1}",
    "Edit points": "编辑点", "opens the editor for points and boxes on the video": "在视频上编辑点和框",
    "Edit pose": "编辑姿态", "opens the editor": "打开编辑器",
    "Run this node to see the pose here and to edit it.": "运行此节点，即可在这里查看并编辑姿态。",
    "Run this node once, then its frames can be shown here.": "先运行一次此节点，然后这里才能显示它的帧。",
    "one frame back": "后退一帧", "one frame on": "前进一帧", "of {0}": "/ {0}", "Play": "播放", "plays the clip": "播放视频",
    "zoom out, also with the wheel": "缩小，也可用滚轮", "zoom in, also with the wheel": "放大，也可用滚轮",
    "frame number": "帧号", "Space": "空格", "result": "结果", "the server answered {0}": "服务器返回了 {0}",
    "pose: drag a keypoint": "姿态：拖动关键点",
    "Key": "关键帧", "keeps the place on this frame": "在此帧固定位置", "Remove key": "移除关键帧", "of this frame": "此帧的",
    "Hide": "隐藏", "on this frame": "在此帧", "Hide from here": "从此处隐藏", "to the end of the shot": "直到镜头结束",
    "Show": "显示", "Show from here": "从此处显示", "closes; edits are kept": "关闭；编辑会保留",
    "Carry": "联动", "the wrist takes its hand along, the ankle its foot, the nose the head": "手腕带动手，脚踝带动脚，鼻子带动头",
    "Body": "身体", "shows the body's keypoints": "显示身体关键点", "Hands": "手", "shows the hands' keypoints": "显示手部关键点",
    "Face": "面部", "shows the face's keypoints": "显示面部关键点", "Picture": "画面", "shows the picture behind": "显示背后的画面",
    "Before": "之前", "shows the pose before it was edited": "显示编辑之前的姿态",
    "Click a keypoint, Shift for more; drag or use the arrows. [ and ] select, Page Up and Page Down go to keys. Yellow: keyed on this frame, blue: on others.":
        "点击关键点，按 Shift 多选；拖动或用方向键。[ 和 ] 选择，Page Up 和 Page Down 跳到关键帧。黄色：此帧有关键帧，蓝色：其他帧有。",
    "No keypoint is selected.": "未选择关键点。", "{0} and {1} more": "{0} 等，另有 {1} 个", "{0}, keyed here": "{0}，此帧有关键帧",
    "{0}, hidden here": "{0}，此帧隐藏", "{0}.": "{0}。",
    "nose": "鼻子", "left eye": "左眼", "right eye": "右眼", "left ear": "左耳", "right ear": "右耳",
    "left shoulder": "左肩", "right shoulder": "右肩", "left elbow": "左肘", "right elbow": "右肘",
    "left wrist": "左腕", "right wrist": "右腕", "left hip": "左髋", "right hip": "右髋", "left knee": "左膝",
    "right knee": "右膝", "left ankle": "左踝", "right ankle": "右踝", "left big toe": "左大脚趾",
    "left small toe": "左小脚趾", "left heel": "左脚跟", "right big toe": "右大脚趾", "right small toe": "右小脚趾",
    "right heel": "右脚跟", "face {0}": "面部 {0}", "left hand {0}": "左手 {0}", "right hand {0}": "右手 {0}",
    // below loaders and Check Models
    "becomes": "变为", "no video yet: upload or choose one": "尚无视频：请上传或选择一个", "as the connected video says": "由所连接的视频决定", "{0} x {1}, {2} frames, {3} s": "{0} x {1}，{2} 帧，{3} 秒",
    "Run this node alone to see here what it finds.": "单独运行此节点，即可在这里看到检查结果。",
    // of Check Models and Download Models
    "For": "用途", "File": "文件", "Size": "大小", "Folder": "文件夹", "Here": "本机", "Model file": "模型文件",
    "Licence": "许可", "Into": "放入", "Now": "现状",
    "model": "模型", "text encoder": "文本编码器", "picture encoder": "图像编码器", "person detector": "人物检测",
    "pose detector": "姿态检测", "pose detector, its weights": "姿态检测的权重", "segmenter, for replace": "分割模型，用于替换",
    "relighting, for replace": "重打光，用于替换", "4 to 6 steps": "4 至 6 步", "pose, by ComfyUI's own nodes": "姿态，由 ComfyUI 自带节点检测",
    "masks, by ComfyUI's own nodes": "遮罩，由 ComfyUI 自带节点生成", "picture editing, for Edit Prompts": "图像编辑，配合“编辑提示词”",
    "picture editing, its text encoder": "图像编辑的文本编码器", "picture editing, its VAE": "图像编辑的 VAE",
    "more frames a second, by ComfyUI's own model": "提高帧率，由 ComfyUI 自带模型",
    "larger frames, by ComfyUI's own model": "放大画面，由 ComfyUI 自带模型",
    "good": "完好", "not hashed": "未校验哈希", "hash not known": "哈希未知", "missing": "缺少", "begun": "未下完",
    "wrong size": "大小不对", "corrupt": "已损坏", "in another folder": "在别的文件夹", "under another name": "以别的文件名存在",
    "not known": "未知", "size not known": "大小未知", "was here": "原已存在", "fetched": "已下载", "resumed": "已续传完成",
    "Everything that a clip needs is here.": "生成视频所需的文件都已齐全。",
    "Size and SHA-256 are right.": "大小和 SHA-256 都正确。", "Press R, and the loaders list what is new.": "按 R 键，加载节点就会列出新文件。",
    "Nothing was fetched: turn confirm on and run again.": "没有下载任何文件：请打开“确认”并再次运行。",
    "filled from the pose's outline": "已用姿态轮廓填补", "filled from the masks around them": "已用前后的遮罩填补",
    "left as they are": "保持原样",
    // Plan Clip
    "Look at this first": "请先看这里", "Nothing is wrong with the inputs that can be told beforehand.": "事先能看出的输入问题：无。",
    "Plan": "计划", "Segments": "分段", "Shots": "镜头", "Padding": "补帧", "Sampled": "采样", "Time": "时间", "Disk": "磁盘",
    "VRAM": "显存", "RAM": "内存", "1, no cut": "1，无切换", "not known without a pose": "没有姿态，无法得知",
    "the head": "头部", "the shoulders": "肩部", "the hips": "髋部", "the knees": "膝盖", "the feet": "脚部",
    "any frame": "任何一帧",
    "pixels": "像素", "per cent of the canvas": "画布百分比", "fractions of the canvas": "画布比例",
    "body": "身体", "feet": "脚", "face": "面部", "left hand": "左手", "right hand": "右手",
    "compiled": "已编译", "fused": "已融合", "at the point": "在该点处", "is damaged": "已损坏", "onnxruntime does not say why": "onnxruntime 未说明原因",
    "has no record of its content, as in older versions": "没有内容记录（旧版本如此）",
    "the runs measured here were of models of another size": "这里测得的运行属于其他大小的模型",
    "the previous frames cannot be compared": "前段帧无法比较", "the anchor does not agree with itself": "锚点前后不一致",
    "nothing of the scene can be compared": "场景中没有可比较的内容", "nothing of the scene is in view": "看不到场景",
    "nothing stands still": "没有静止的内容", "the light changes": "光线在变化",
    "nothing that stands still is in view": "看不到静止的内容",
    "every frame": "所有帧", "left and right": "左右两侧", "top and bottom": "上下两侧",
};

// What the server says with values in it: {0}, {1}, ... stand for any text, which is said by itself. Of several that fit,
// the one with the most text of its own is meant. Figures of reports and errors stay English.
export const SENTENCES = {
    "{0:number} file is needed ({1:bytes}).": "需要 {0} 个文件（{1}）。", "{0:number} files are needed ({1:bytes}).": "需要 {0} 个文件（{1}）。",
    "To be fetched: {0:bytes}.": "将下载：{0}。", "On {0:number} GiB": "在 {0} GiB 上",
    "Folders are those below {0}.": "文件夹指 {0} 之下的那些。", "Folders: {0}.": "文件夹：{0}。",
    "fits ({0:bytes})": "放得下（{0}）", "in parts ({0:bytes} of {1:bytes})": "分块可用（{1} 中的 {0}）", "too large ({0:bytes} at least)": "太大（至少 {0}）",
    "fits ({0:bytes}), by {1}": "放得下（{0}），由 {1} 加载",
    "in parts ({0:bytes} of {1:bytes}), by {2}": "分块可用（{1} 中的 {0}），由 {2} 加载", "too large ({0:bytes} at least), by {1}": "太大（至少 {0}），由 {1} 加载",
    "{0}, unverified": "{0}，未核实", "{0}, not always needed": "{0}，并非总是需要",
    "about {0:bytes}": "约 {0}", "{0:number} bytes": "{0} 字节",
    "begun ({0})": "未下完（{0}）", "in another folder ({0})": "在别的文件夹（{0}）", "under another name ({0})": "以别的文件名存在（{0}）",
    "{0:hash} (its source lists it)": "{0}（来源列出）", "{0:hash} (a copy is listed at the hub)": "{0}（hub 上的副本列出）",
    "{0:hash} (published, not verified: the hub's listing decides)": "{0}（他人公布，未核实：以 hub 的列表为准）",
    "(not known: the hub's listing decides)": "（未知：以 hub 的列表为准）",
    "unverified: the list's hash was not seen at the file's source, or is not known; a download is held against the hub's own listing.":
        "未核实：清单中的哈希未在文件来源处见到，或尚不知道；下载时以 hub 自己的列表核对。",
    "{0:number} bytes, not {1:number}: cut short; fetch it again.": "{0} 字节，而不是 {1}：文件不完整，请重新下载。",
    "{0:number} bytes, not {1:number}: another file; fetch it again.": "{0} 字节，而不是 {1}：是另一个文件，请重新下载。",
    "{0:bytes}; nobody says what its hash must be.": "{0}；没有来源说明它的哈希应是什么。",
    "its sha256 is {0:hash}, not {1:hash}: fetch it again.": "它的 sha256 是 {0}，而不是 {1}：请重新下载。",
    "its sha256 is {0:hash}, not {1:hash}, which was not verified: fetch it again.": "它的 sha256 是 {0}，而不是 {1}（未核实）：请重新下载。",
    "it is here as {0}, by its hash: choose that one.": "按哈希看，它在这里名为 {0}：请选用它。",
    "it is {0}, by its hash: move it to {1}.": "按哈希看，它就是 {0}：请移到 {1}。",
    "it is in {0}: move it to {1}.": "它在 {0}：请移到 {1}。",
    "{0:bytes} are here: fetch it again, it goes on.": "已有 {0}：再次下载即可续传。",
    "{0} may be it: hash it to be sure.": "可能就是 {0}：校验哈希即可确定。",
    // warnings
    "a body was found in {0:number} of {1:number} frames ({2:numbers}); the others have no skeleton, and no mask from it. Choose a part of the video that shows the person (start, limit), or another person.":
        "{1} 帧中只有 {0} 帧找到了身体（{2}）；其余帧没有骨架，也没有由它得出的遮罩。请选择能看到人物的片段（“起始帧”、“上限”），或选择另一个人。",
    "a body was found in no frame; the others have no skeleton, and no mask from it. Choose a part of the video that shows the person (start, limit), or another person.":
        "没有一帧找到身体：没有骨架，也没有由它得出的遮罩。请选择能看到人物的片段（“起始帧”、“上限”），或选择另一个人。",
    "the mask is empty in {0:number} of {1:number} frames ({2:numbers}) that show a person: nobody is put in there and the old person stays. Set a point or a box on one of them in Segment Character, or fill lost frames with the pose outline.":
        "{1} 帧中有 {0} 帧（{2}）有人物而遮罩为空：那里不会换人，原来的人会留下。请在“分割角色”中于其中一帧设置点或框，或将“跟丢帧补为”设为姿态轮廓。",
    "the mask is not where the pose is in {0:number} of {1:number} frames ({2:numbers}): the old person stays there. Look at the mask and the pose there, and set a point or a box on the person in Segment Character.":
        "{1} 帧中有 {0} 帧（{2}）的遮罩不在姿态所在之处：原来的人会留在那里。请查看那里的遮罩和姿态，并在“分割角色”中对人物设置点或框。",
    "the mask cuts off part of the person in {0:number} of {1:number} frames ({2}): the old person shows there. Raise grow iterations in Shape Mask or lower its blocks across and blocks down; where a hand or foot is missing altogether, set a point on it in Segment Character.":
        "{1} 帧中有 {0} 帧的遮罩切掉了人物的一部分（{2}）：原来的人会在那里露出。请在“调整遮罩形状”中增大“扩大次数”，或减小“横向方块数”和“纵向方块数”；若整只手或脚缺失，请在“分割角色”中对它设置点。",
    "{0} What lies beyond the window comes in with more margin in Crop to Character.": "{0}窗口之外的部分，可在“裁剪到角色”中加大边距来包含。",
    "The segmenter lost the person in {0:number} of {1:number} frames ({2:numbers}); they were {3}. Set a point or a box on one of them (point_frame {4:number}), or try a larger model.":
        "分割模型在 {1} 帧中有 {0} 帧丢失了人物（{2}）；这些帧{3}。请在其中一帧（point_frame {4}）设置点或框，或换用更大的模型。",
    "The character is ComfyUI's own example.png, with which Load Image begins: choose your picture there if this one was not meant.":
        "角色是 ComfyUI 自带的 example.png（“加载图像”的初始图片）：若非本意，请在那里选择您的图片。",
    "the character mask is white all over in {0}: nothing of the scene is kept there. Take mode animate if a new scene is wanted, else a mask of the person alone (Segment Character; if black is the character, invert it).":
        "角色遮罩在{0}中全白：那里不保留场景的任何部分。若要新的场景，请用 animate 模式；否则请使用仅含人物的遮罩（“分割角色”；若黑色代表角色，请反转）。",
    "{0:number} frames ({1:numbers})": "{0} 帧（{1}）",
    "The pose track is of a video of {0:number}x{1:number}: it is drawn at {2:number}x{3:number}, and so is the clip. Connect driving_video for the size of Load Driving Video, or set one in Draw Pose.":
        "姿态轨迹来自 {0}x{1} 的视频：绘制和成片的尺寸都是 {2}x{3}。若要“加载驱动视频”的尺寸，请连接“驱动视频”，或在“绘制姿态”中设置尺寸。",
    "The clip is made at the pose track's {0:number}x{1:number}, more than 1280x720 pixels, which takes long and much memory. For a smaller one set a size in Retarget Pose or Draw Pose.":
        "成片采用姿态轨迹的尺寸 {0}x{1}，超过 1280x720 的像素数，耗时长且占用大量内存。若要更小的尺寸，请在“重定向姿态”或“绘制姿态”中设置。",
    "the pose video is black in all {0:number} frames: no body was found, so nothing of the motion is taken over; detect the pose of a part of the video that shows the person.":
        "姿态视频的全部 {0} 帧都是黑的：没有找到身体，因此不会带入任何动作；请检测视频中能看到人物的部分的姿态。",
    "detect pose: the person was not detected in {0:number} of {1:number} frames ({2:numbers}); in {3:number} of them a pose was found anyway.":
        "检测姿态：{1} 帧中有 {0} 帧没有检测到人物（{2}）；其中 {3} 帧仍找到了姿态。",
    "detect pose: the person that is followed is not in view in {0:number} of {1:number} frames ({2:numbers}).":
        "检测姿态：{1} 帧中有 {0} 帧看不到所跟踪的人物（{2}）。",
    "detect pose: frames {0:number}-{1:number} show no person {2}; the one there who looks most like the chosen one is followed ({3:number} of {4:number} from the left).":
        "检测姿态：第 {0} 至 {1} 帧没有{2}的人物；改为跟踪那里与所选人物最相像的一位（从左数第 {3} 位，共 {4} 位）。",
    "number {0:number}": "编号为 {0}",
    "pose detector: this onnxruntime has no {0:name} provider (it has {1}); running on the CPU.":
        "姿态检测：此 onnxruntime 没有 {0} 执行器（它有 {1}）；改在 CPU 上运行。",
    "{0}: {1:name} failed to start ({2}); running on the CPU.": "{0}：{1} 无法启动（{2}）；改在 CPU 上运行。",
    "{0}: onnxruntime could not start {1:name}; {2} runs on the CPU.": "{0}：onnxruntime 无法启动 {1}；{2} 改在 CPU 上运行。",
    "{0}: {1:name} does not start on card {2:number} ({3}); taking the first.": "{0}：{1} 在显卡 {2} 上无法启动（{3}）；改用第一块显卡。",
    "{0}: not enough memory for {1:number} frames at once; going on with {2:number}.": "{0}：内存不足以同时处理 {1} 帧；改为每次 {2} 帧。",
    "{0}: {1:name} cannot run {2} ({3}); going on on the CPU.": "{0}：{1} 无法运行 {2}（{3}）；改在 CPU 上继续。",
    "{0}: {1} takes one image at a time ({2}).": "{0}：{1} 每次只接受一幅图像（{2}）。",
    "clip_vision_output holds the features of {0:number} pictures: the first is used.": "clip_vision_output 含有 {0} 幅图片的特征：使用第一幅。",
    "{0} has changed since ComfyUI loaded it: this clip is made with what is loaded. For the new file, unload models and the execution cache (in ComfyUI's menu), and run again.":
        "{0} 在 ComfyUI 加载之后有改动：此片段使用已加载的内容。若要使用新文件，请卸载模型和执行缓存（在 ComfyUI 菜单中），然后再次运行。",
    "the attention that another server chose for this clip is for another kind of card or other packages than here: this server's own choice is taken, and its frames may differ in their last bits.":
        "另一台服务器为此片段选择的注意力实现适用于其他型号的显卡或其他软件包：这里采用本服务器自己的选择，画面的末位数值可能不同。",
    // of a job's folder
    "another process is making this clip already, in {0}: waiting until it is done": "另一个进程已在 {0} 中生成此片段：等待其完成",
    "{0}: this file system has no locks, so start the job in one process only": "{0}：此文件系统没有锁，请只在一个进程中启动任务",
    "segment {0:number} in {1} {2}, it is made again": "{1} 中的第 {0} 段{2}，会重新生成",
    "the former frames of segment {0:number} in {1} are damaged": "{1} 中第 {0} 段先前的帧已损坏",
    "{0} in {1}: of an older version, whose keys did not see every change of a model, so it is not gone on with; wan-animate jobs clear deletes it":
        "{1} 中的 {0}：来自旧版本，其键看不到模型的每处改动，因此不会接着做；可用 wan-animate jobs clear 删除",
    "{0:number} stopped jobs of an older version ({1:bytes}) in {2} are begun anew when they are run, as their keys did not see every change of a model: delete them, or leave it to {3:number} days.":
        "{2} 中有 {0} 个旧版本的中断任务（{1}），再次运行时会从头开始，因为其键看不到模型的每处改动：请删除它们，或在 {3} 天后由程序清理。",
    "no memory on the card for block {0:number}: it is copied in every step.": "显卡没有空间放第 {0} 个模块：每一步都会复制它。",
    "the video's tag {0} stays as it was before the last frame": "视频的标签 {0} 仍是最后一帧之前的内容",
    "the part of {0} is still running and is left alone.": "{0} 上的部分仍在运行，不再等待。",
    "{0:number} MB of host memory could not be unlocked.": "有 {0} MB 内存无法解除锁定。",
    // on Load Driving Video
    "{0} is HDR ({1}): it is brought to SDR in BT.709, diffuse white ({2:number} cd/m2) nearly to white and the highlights above it rolled off.":
        "{0} 是 HDR（{1}）：会转换为 BT.709 的 SDR，漫反射白（{2} cd/m2）接近白色，更亮的高光被压缩。",
    "{0} has {1} colours: they are brought to BT.709.": "{0} 使用 {1} 色域：会转换为 BT.709。",
    "{0} is interlaced: each frame becomes one whole picture (FFmpeg's bwdif).": "{0} 是隔行视频：每帧会变成一幅完整画面（FFmpeg 的 bwdif）。",
    "{0} is stored as {1:number}x{2:number} with pixels of {3}: it is stretched to {4:number}x{5:number}, as players show it.":
        "{0} 以 {1}x{2} 存储，像素宽高比为 {3}：会像播放器那样拉伸为 {4}x{5}。",
    "{0} is {1:number}x{2:number}, of another shape than {3:number}x{4:number}: fit fill would cut {5:number} % of its picture, so all of it is shown between black bars.":
        "{0} 为 {1}x{2}，与 {3}x{4} 形状不同：适配 fill 会裁掉 {5} % 的画面，因此加黑边显示全部。",
    "{0} is {1:number}x{2:number}, of another shape than {3:number}x{4:number}: fit fill cuts {5:number} % of its picture at {6} (a larger size cuts less, fit pad nothing).":
        "{0} 为 {1}x{2}，与 {3}x{4} 形状不同：适配 fill 会在{6}裁掉 {5} % 的画面（尺寸更大则裁得更少，适配 pad 不裁）。",
    // Plan Clip and the report of Animate Character
    "nobody was found in {0}: leave them out with start and limit in Load Driving Video, or choose another person in Detect Pose and Face.":
        "{0}没有找到人：请用“加载驱动视频”的“起始帧”和“上限”略过，或在“检测姿态与面部”中选择另一个人。",
    "no face was found in any frame: the expression is left to the pose; take a driving video that shows the face, if it matters.":
        "没有一帧找到面部：表情只能来自姿态；若表情重要，请使用能看到面部的驱动视频。",
    "the face is only {0:number} pixels wide in {1}: its expression is lost below {2:number}: load the driving video larger, or cut it closer to the person.":
        "{1}中面部只有 {0} 像素宽：小于 {2} 时表情会丢失。请以更大尺寸加载驱动视频，或裁得离人更近。",
    "the character mask is empty in {0}: nobody is put into the scene there; add points in Segment Character, set its fill to pose outline, or invert the mask.":
        "角色遮罩在{0}中为空：那里不会放入角色。请在“分割角色”中添加点、将“跟丢帧补为”设为姿态轮廓，或反转遮罩。",
    "nobody was found in the reference picture: take a picture that shows the character from the front, with the face to be seen.":
        "参考图中没有找到人：请使用角色正面且能看到面部的图片。",
    "the picture shows the character down to {0}, the driver down to {1}: take a picture that shows {2}, or cut the driving video to the upper body.":
        "图片中的角色可见到{0}，驱动者可见到{1}：请使用能看到{2}的图片，或把驱动视频裁到上半身。",
    "the picture shows the character down to {0}, the driver down to {1}: cut the picture closer, or take a driving video that shows the whole body.":
        "图片中的角色可见到{0}，驱动者可见到{1}：请把图片裁得更近，或使用能看到全身的驱动视频。",
    "the size is {0:size}, not divisible by 16: make it {1:size}.": "尺寸为 {0}，不能被 16 整除：请改为 {1}。",
    "{0:size} is smaller than the model was trained on ({1:size} to {2:size}): take about the pixels of {3:size}.": "{0} 小于模型训练时的尺寸（{1} 至 {2}）：请采用约 {3} 的像素数。",
    "{0:size} is larger than the model was trained on ({1:size} to {2:size}): take about the pixels of {3:size}.": "{0} 大于模型训练时的尺寸（{1} 至 {2}）：请采用约 {3} 的像素数。",
    "the clip has {0:number} frames a second, and the model was trained on {1:number}: set fps to {2:number} in Load Driving Video.":
        "片段为每秒 {0} 帧，而模型以 {1} 帧训练：请在“加载驱动视频”中把帧率设为 {2}。",
    "a segment has {0:number} frames, and the model was trained on {1:number}: set segment_length to {2:number}, unless memory is short.":
        "每段 {0} 帧，而模型以 {1} 帧训练：除非内存不足，请把“分段长度”设为 {2}。",
    "segments take over {0:number} frames, and the model was trained on 1 and 5: set previous_frames to 1, or to 5 to hold motion better.":
        "各段沿用 {0} 帧，而模型以 1 和 5 帧训练：请把“前段帧数”设为 1，或设为 5 以更好地保持动作。",
    "the last segment makes {0:number} new frames and {1:number} that are not kept: a limit of {2:number} frames saves it.":
        "最后一段生成 {0} 帧新画面，另有 {1} 帧不保留：把上限设为 {2} 帧即可省去这一段。",
    "the job writes about {0:bytes}, and {1:bytes} are free in the output folder: free space there, or shorten the clip with limit; a job that a full disk stops goes on from its segments.":
        "任务约写入 {0}，而输出文件夹剩余 {1}：请腾出空间，或用“上限”缩短片段；因磁盘已满而停止的任务会从已有片段继续。",
    "with all weights on it the card needs {0:bytes}, and it has {1:bytes}: ComfyUI moves weights by itself; Offload Animate Blocks does it in the time of a step, fp8 weights take half.":
        "全部权重放在显卡上需要 {0}，而它有 {1}：ComfyUI 会自行移动权重；“卸载 Animate 模块”可在一步的时间内完成，fp8 权重只占一半。",
    "a segment needs {0:bytes} on the card with no weights on it, and it has {1:bytes}: take a smaller size, or a shorter segment_length.":
        "即使没有权重，一段也需要 {0} 显存，而显卡有 {1}：请减小尺寸，或缩短“分段长度”。",
    "{0:number} frames of {1:size} at {2:number} a second: {3:number} s": "{0} 帧，{1}，每秒 {2} 帧：{3} 秒",
    "{0:number} frames of {1:size} at {2:number} a second: {3:number} s; frames {4:number} to {5:number} are made": "{0} 帧，{1}，每秒 {2} 帧：{3} 秒；生成第 {4} 至 {5} 帧",
    "{0:number} of {1:number} frames, {2:number} of them taken over ({3:number} in all)": "{0} 段，每段 {1} 帧，其中沿用 {2} 帧（共 {3} 帧）",
    "{0:number} of {1:number} frames": "{0} 段，每段 {1} 帧",
    "{0:numbers} of {1:number}: {2:number} of {3:number} frames": "第 {0} 段（共 {1} 段）：{2} 段，每段 {3} 帧",
    "{0:numbers} of {1:number}: {2:number} of {3:number} frames, {4:number} of them taken over ({5:number} in all)":
        "第 {0} 段（共 {1} 段）：{2} 段，每段 {3} 帧，其中沿用 {4} 帧（共 {5} 帧）",
    "{0:number} (cuts at {1:numbers})": "{0} 个（切换于 {1}）", "{0:number} (cuts at {1:numbers}), each begun anew": "{0} 个（切换于 {1}），各自重新开始",
    "{0:number} frame at the end, made and not kept": "末尾 {0} 帧，生成但不保留", "{0:number} frames at the end, made and not kept": "末尾 {0} 帧，生成但不保留",
    "{0:number} frames at the end of shots, made and not kept": "各镜头末尾共 {0} 帧，生成但不保留",
    "{0:size}: {1:number} tokens a segment": "{0}：每段 {1} 个 token",
    "not known for {0} before the first run of this model here, which is measured": "{0} 上尚未知：此模型在这里首次运行时会测量",
    "about {0:time}: {1:number} steps of {2:number} s a segment, {3:time} each; {4}": "约 {0}：每段 {1} 步，每步 {2} 秒，每段 {3}；{4}",
    "about {0:time}: {1:number} steps of {2:number} s a segment (two passes: cfg is not 1), {3:time} each; {4}":
        "约 {0}：每段 {1} 步，每步 {2} 秒（cfg 不为 1，因此计算两遍），每段 {3}；{4}",
    "estimated from times measured on such a card": "据在同款显卡上测得的时间估计",
    "estimated from times of an {0} by the published rates of both": "据 {0} 的时间和两者公布的算力估计",
    "a server's first job takes {0:number} s more": "服务器的首个任务多用 {0} 秒",
    "measured here at {0:size} on {1:numbers} ({2})": "{1} 在这里以 {0} 测得（{2}）",
    "estimated from the run here at {0:size} on {1:numbers} ({2})": "据 {1} 在这里以 {0} 的运行估计（{2}）",
    "{0:name} weights": "{0} 权重", "{0:name} attention": "{0} 注意力", "reuse {0:name}": "复用 {0}", "products {0:name}": "矩阵乘法 {0}",
    "offload to {0:number} GB": "卸载至 {0} GB", "{0:number} blocks offloaded": "卸载 {0} 个模块", "{0:number} cards": "{0} 块显卡",
    "{0:bytes} while it runs (segments {1:bytes}, carried over {2:bytes}, mp4 {3:bytes})": "运行时 {0}（片段 {1}，沿用帧 {2}，mp4 {3}）",
    "{0:bytes} while it runs (segments {1:bytes}, carried over {2:bytes}, mp4 {3:bytes}); {4:bytes} free": "运行时 {0}（片段 {1}，沿用帧 {2}，mp4 {3}）；剩余 {4}",
    "{0:bytes} with all weights on the card, {1:bytes} with all blocks in host memory (estimated)": "全部权重在显卡上时 {0}，全部块在内存中时 {1}（估计）",
    "{0:bytes} with all weights on the card, {1:bytes} with all blocks in host memory (estimated); {2} has {3:bytes}":
        "全部权重在显卡上时 {0}，全部块在内存中时 {1}（估计）；{2} 有 {3}",
    "{0:bytes} with the weights in it (estimated)": "{0}，权重在内（估计）",
    "frame {0:numbers}": "第 {0} 帧", "frames {0:numbers}": "第 {0} 帧",
    "no boundary between segments shows (the most: {0})": "片段衔接处都看不出来（最明显的：{0}）",
    "{0:number} of {1:number} boundaries between segments show:": "{1} 处片段衔接中有 {0} 处看得出来：",
    "make such a segment again with a seed of its own, or cross-fade over more frames.": "请用单独的种子重做这样的片段，或增加交叉淡化的帧数。",
    "segment {0:number} begins at frame {1:number}: difference {2:number}, {3:number} times the usual": "第 {0} 段始于第 {1} 帧：差异 {2}，为平常的 {3} 倍",
    "color: {0}.": "颜色：{0}。", "color: nothing could be measured.": "颜色：没有可测量的内容。",
    "Delta E against the previous frames {0:number} before and {1:number} after correction (at most {2:number}, in segment {3:numbers})":
        "与前段帧的 Delta E：校正前 {0}，校正后 {1}（最大 {2}，在第 {3} 段）",
    "Delta E against the scene {0:number} before and {1:number} after correction (at most {2:number}, in segment {3:numbers})":
        "与场景的 Delta E：校正前 {0}，校正后 {1}（最大 {2}，在第 {3} 段）",
    "not all was done in segment {0:numbers}: {1}": "第 {0} 段未全部完成：{1}",
    // Keypoints to Pose
    "{0}: the coordinates lie between 0 and 100 on a canvas of {1:size}, so they are taken as per cent of it. If they are pixels, the person is within 100 pixels of the top left corner: cut that corner out of the video and detect the pose in it, or, where the canvas has another size than the picture that they were found in, give it that size.":
        "{0}：坐标在 0 到 100 之间，而画布为 {1}，因此按画布的百分比读取。若它们是像素，则人物位于左上角 100 像素以内：请把那个角裁出来再检测姿态；若画布尺寸与检测所用的图片不同，请改为该图片的尺寸。",
    "{0} of frames {1:numbers}: in {2}, where {3} are usual in this clip. They were converted; look at the pose there.":
        "第 {1} 帧的{0}：单位为{2}，而本片段通常为{3}。已转换；请查看那里的姿态。",
    "{0:numbers}, and {1:number} more ranges": "{0}，以及另外 {1} 段",
    "{0:number} to {1:number}": "{0} 至 {1}",
    "{0:number} s": "{0} 秒", "{0:number} min": "{0} 分", "{0:number} min {1:number} s": "{0} 分 {1} 秒",
    "{0:number} h": "{0} 小时", "{0:number} h {1:number} min": "{0} 小时 {1} 分",
    "head {0:numbers}": "头部 {0}", "left hand {0:numbers}": "左手 {0}", "right hand {0:numbers}": "右手 {0}", "left foot {0:numbers}": "左脚 {0}",
    "right foot {0:numbers}": "右脚 {0}", "arms or legs {0:numbers}": "手臂或腿 {0}",
};

// What the server says of a run's phases, English on the wire. `say` says the parts.
export const phases = say => [
    [/^segment (\d+) of (\d+): (.*)$/, (at, count, what) => `第 ${at}/${count} 段：${say(what)}`],
    [/^(loading the \w+), (.*)$/, (load, what) => `${say(load)}，${say(what)}`],
    [/^sampling, step (\d+) of (\d+)$/, (step, steps) => `采样第 ${step}/${steps} 步`],
    [/^([a-z].*): (\d+) of (\d+) frames$/i, (what, done, total) => `${say(what)}：${done}/${total} 帧`],
];
